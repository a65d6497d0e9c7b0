"""Observers of the engine's steps: their interface, the step trace and the invariants."""
