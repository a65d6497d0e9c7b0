"""The spans of a request: the interface (tracing) and its OpenTelemetry implementation (otel)."""
