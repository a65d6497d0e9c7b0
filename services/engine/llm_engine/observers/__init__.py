"""Listeners to the engine's steps: the interface (observer), the trace as JSON lines, and the invariants."""
