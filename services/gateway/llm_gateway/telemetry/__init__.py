"""The traces of a request: spans (tracing, otel), and the ledger that settles everything when it has ended."""
