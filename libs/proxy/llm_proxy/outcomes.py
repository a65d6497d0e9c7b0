"""Outcomes of a request in metrics, spans and records. Every other outcome is the label of an ErrorKind."""

OK = "ok"
ENGINE_REJECTED = "engine_rejected"
"""The engine answered with an error status, and the service passed it on."""
