"""The watch over the engines: a loop probes /health, scrapes /metrics and checks the progress of each engine."""
