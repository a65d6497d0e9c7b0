"""Traces with OpenTelemetry. This module is imported only if tracing is on.

Spans are created on the event loop and get their parent explicitly, without context variables: a request's spans belong
to it whichever task ends them. A thread of the SDK sends them in batches. If the receiver is down, the thread gives up
after a few seconds and drops the spans. If spans arrive faster than they are sent, the newest are dropped.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from types import TracebackType
from typing import Self

from opentelemetry import trace as otel
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from llm_contract import headers as header_names
from llm_proxy.outcomes import OK
from llm_proxy.telemetry.tracing import OPERATION, TracingSettings, Value

EXPORT_SECONDS = 2.0
"""Time limit of one batch with its retries. A receiver that is down delays the shutdown by as much."""
WAITING_SPANS = 8192
BATCH_SPANS = 512

OPERATIONS = {"/v1/chat/completions": "chat", "/v1/completions": "text_completion"}
"""gen_ai.operation.name by path."""

TRACESTATE = "tracestate"
"""Header that is replaced with each traceparent, so that the client's value cannot stay with another trace."""

W3C = TraceContextTextMapPropagator()


def otlp_exporter(settings: TracingSettings) -> SpanExporter:
    key = settings.otlp_key_file.read_text(encoding="utf-8").strip() if settings.otlp_key_file else None
    headers = {"Authorization": f"Bearer {key}"} if key else None
    return OTLPSpanExporter(endpoint=settings.otlp_endpoint, headers=headers, timeout=EXPORT_SECONDS)


class OtelTracing:
    """A `Tracing` that exports spans. `program` is the first part of their names."""

    def __init__(self, program: str, settings: TracingSettings, exporter: SpanExporter) -> None:
        self._program = program
        self._provider = TracerProvider(
            sampler=ParentBasedTraceIdRatio(settings.sample_ratio),
            resource=Resource.create({"service.name": settings.service_name or f"llm-{program}"}),
            shutdown_on_exit=False,
        )
        self._batches = BatchSpanProcessor(exporter, max_queue_size=WAITING_SPANS, max_export_batch_size=BATCH_SPANS)
        self._provider.add_span_processor(self._batches)
        self._tracer = self._provider.get_tracer(f"llm_{program}")

    def begin(self, headers: Mapping[str, str], path: str) -> OtelTrace:
        parent = W3C.extract(headers) if header_names.TRACEPARENT in headers else Context()
        span = self._tracer.start_span(f"{self._program}.request", parent, otel.SpanKind.SERVER)
        if span.is_recording():
            span.set_attributes({"url.path": path, OPERATION: OPERATIONS.get(path, path)})
        return OtelTrace(self._program, self._tracer, span)

    def flush(self) -> None:
        """Block until all finished spans are sent or dropped."""
        self._provider.force_flush()

    def close(self) -> None:
        self._provider.shutdown()


class OtelTrace:
    """A `Trace` whose root is the server span."""

    __slots__ = ("_context", "_program", "_root", "_tracer")

    def __init__(self, program: str, tracer: otel.Tracer, root: otel.Span) -> None:
        self._program = program
        self._tracer = tracer
        self._root = root
        self._context = otel.set_span_in_context(root, Context())

    def span(self, name: str) -> OtelSpan:
        """Return a child span. A request that is not sampled has none, but its ids still reach the engine."""
        if not self._root.is_recording():
            return OtelSpan(self._root, self._context, owned=False)
        span = self._tracer.start_span(name, self._context, _kind(name))
        return OtelSpan(span, otel.set_span_in_context(span, self._context), owned=True)

    def set(self, name: str, value: Value | None) -> None:
        if value is not None:
            self._root.set_attribute(name, value)

    def event(self, name: str) -> None:
        self._root.add_event(name)

    def end(self, outcome: str, status: int) -> None:
        if self._root.is_recording():
            self._root.set_attributes({f"llm_{self._program}.outcome": outcome, "http.response.status_code": status})
            if outcome != OK:
                self._root.set_attribute("error.type", outcome)
            if status >= 500:
                self._root.set_status(otel.StatusCode.ERROR, outcome)
        self._root.end()


def _kind(name: str) -> otel.SpanKind:
    """Return the kind of a phase's span: an exchange with an engine is a client's, every other phase is internal."""
    return otel.SpanKind.CLIENT if name.endswith(".upstream") else otel.SpanKind.INTERNAL


class OtelSpan:
    """A `Span`. It ends the OpenTelemetry span only if it owns it."""

    __slots__ = ("_context", "_owned", "_span")

    def __init__(self, span: otel.Span, context: Context, *, owned: bool) -> None:
        self._span = span
        self._context = context
        self._owned = owned

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, stack: TracebackType | None
    ) -> None:
        if not self._owned:
            return
        if kind is not None:
            self._span.set_attribute("error.type", kind.__name__)
            self._span.set_status(otel.StatusCode.ERROR, str(error))
        self._span.end()

    def set(self, name: str, value: Value) -> None:
        if self._owned:
            self._span.set_attribute(name, value)

    def inject(self, headers: MutableMapping[str, str]) -> None:
        headers.pop(TRACESTATE, None)
        W3C.inject(headers, self._context)
