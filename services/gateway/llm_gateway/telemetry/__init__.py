"""Traces of the gateway: the names of a request's spans, and the trace of its queue."""
