"""Outcomes of a request in metrics, spans and SLA records. Every other outcome is the label of an ErrorKind."""

OK = "ok"
ENGINE_REJECTED = "engine_rejected"
"""The engine answered with an error status, and the gateway passed it on."""

UNCLASSIFIED = "unclassified"
"""Class label of requests that failed before they had a class."""
