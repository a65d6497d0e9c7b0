"""Watching engines: a loop for each of them that probes /health, scrapes /metrics, and looks for progress."""
