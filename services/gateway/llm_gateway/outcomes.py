"""Outcomes of a request, as metrics, spans and SLA records name them; every other outcome is an ErrorKind's label."""

OK = "ok"
ENGINE_REJECTED = "engine_rejected"
"""The engine itself answered with an error status, which was passed on."""

UNCLASSIFIED = "unclassified"
"""Class label of requests that failed before they had a class."""
