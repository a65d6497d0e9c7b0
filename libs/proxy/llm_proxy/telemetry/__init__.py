"""The spans of a request: the interface (tracing) and its OpenTelemetry implementation (otel)."""

from llm_proxy.telemetry.tracing import NoTracing, Tracing, TracingSettings

__all__ = ["Tracing", "TracingSettings", "make_tracing"]


def make_tracing(program: str, settings: TracingSettings) -> Tracing:
    """Return the tracing that the settings ask for. OpenTelemetry is imported only then: it costs 20 MiB and 0.3 s."""
    if not settings.otlp_endpoint:
        return NoTracing()
    from llm_proxy.telemetry.otel import OtelTracing, otlp_exporter

    return OtelTracing(program, settings, otlp_exporter(settings))
