"""Traces with OpenTelemetry. This module is imported only if tracing is on.

Spans are created on the event loop and get their parent explicitly, without context variables: a request's spans belong
to it whichever task ends them. A thread sends them in batches (batches.py). All times of a trace are read from the
monotonic clock and moved to the Unix time of its start, so a child lies within its parent even if the wall clock jumps.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Mapping, MutableMapping
from types import TracebackType
from typing import Self

from opentelemetry import trace as otel
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from llm_contract import headers as header_names
from llm_proxy.outcomes import OK
from llm_proxy.telemetry.batches import Batches
from llm_proxy.telemetry.tracing import OPERATION, NoSpan, NoTrace, SpanCounts, Trace, TracingSettings, Value

EXPORT_SECONDS = 2.0
"""Time limit of one batch with its retries. A receiver that is down delays the shutdown by as much."""

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
        self._sample_ratio = settings.sample_ratio
        self._provider = TracerProvider(
            sampler=ParentBased(ALWAYS_ON),  # `begin` decides about traces that begin here
            resource=Resource.create({"service.name": settings.service_name or f"llm-{program}"}),
            shutdown_on_exit=False,
        )
        self._batches = Batches(exporter, settings.otlp_endpoint)
        self._provider.add_span_processor(self._batches)
        self._tracer = self._provider.get_tracer(f"llm_{program}")

    def begin(self, headers: Mapping[str, str], path: str) -> Trace:
        parent = W3C.extract(headers) if header_names.TRACEPARENT in headers else Context()
        begins_here = not (parent and otel.get_current_span(parent).get_span_context().is_valid)
        if begins_here and random.random() >= self._sample_ratio:
            return Unsampled()
        clock = Clock()
        name = f"{self._program}.request"
        span = self._tracer.start_span(name, parent, otel.SpanKind.SERVER, start_time=clock.begun)
        if span.is_recording():
            span.set_attributes({"url.path": path, OPERATION: OPERATIONS.get(path, path)})
        return OtelTrace(self._program, self._tracer, span, clock)

    @property
    def counts(self) -> SpanCounts:
        return self._batches.counts

    def flush(self) -> None:
        """Block until all finished spans are sent or dropped."""
        self._provider.force_flush()

    def close(self) -> None:
        self._provider.shutdown()


class Unsampled(NoTrace):
    """A trace that begins here and is not sampled: ids for the logs and the engine, without OpenTelemetry's cost."""

    __slots__ = ("_span", "trace_id")

    def __init__(self) -> None:
        self.trace_id = f"{random.getrandbits(128) or 1:032x}"
        self._span = UnsampledSpan(self.trace_id)

    def span(self, name: str) -> NoSpan:
        return self._span


class UnsampledSpan(NoSpan):
    __slots__ = ("_trace_id",)

    def __init__(self, trace_id: str) -> None:
        self._trace_id = trace_id

    def inject(self, headers: MutableMapping[str, str]) -> None:
        headers.pop(TRACESTATE, None)
        headers[header_names.TRACEPARENT] = f"00-{self._trace_id}-{random.getrandbits(64) or 1:016x}-00"


class Clock:
    """The Unix time of one trace, in nanoseconds, which never goes back."""

    __slots__ = ("_monotonic", "begun")

    def __init__(self) -> None:
        self.begun, self._monotonic = time.time_ns(), time.monotonic()

    def at(self, monotonic: float) -> int:
        return self.begun + round((monotonic - self._monotonic) * 1e9)

    def now(self) -> int:
        return self.at(time.monotonic())


class OtelTrace:
    """A `Trace` whose root is the server span."""

    __slots__ = ("_clock", "_context", "_program", "_root", "_tracer")

    def __init__(self, program: str, tracer: otel.Tracer, root: otel.Span, clock: Clock) -> None:
        self._program = program
        self._tracer = tracer
        self._root = root
        self._clock = clock
        self._context = otel.set_span_in_context(root, Context())

    @property
    def trace_id(self) -> str:
        return f"{self._root.get_span_context().trace_id:032x}"

    @property
    def is_recording(self) -> bool:
        return self._root.is_recording()

    def span(self, name: str) -> OtelSpan:
        """Return a child span. A request that is not sampled has none, but its ids still reach the engine."""
        if not self._root.is_recording():
            return OtelSpan(self._root, self._context, self._clock, owned=False)
        span = self._tracer.start_span(name, self._context, _kind(name), start_time=self._clock.now())
        return OtelSpan(span, otel.set_span_in_context(span, self._context), self._clock, owned=True)

    def record(
        self,
        name: str,
        begin: float,
        end: float,
        attributes: Mapping[str, Value],
        *,
        events: Iterable[tuple[str, float]] = (),
    ) -> None:
        if not self._root.is_recording():
            return
        at = self._clock.at
        span = self._tracer.start_span(name, self._context, attributes=attributes, start_time=at(begin))
        for event, moment in events:
            span.add_event(event, timestamp=at(moment))
        span.end(at(end))

    def set(self, name: str, value: Value | None) -> None:
        if value is not None:
            self._root.set_attribute(name, value)

    def event(self, name: str) -> None:
        self._root.add_event(name, timestamp=self._clock.now())

    def end(self, outcome: str, status: int) -> None:
        if self._root.is_recording():
            self._root.set_attributes({f"llm_{self._program}.outcome": outcome, "http.response.status_code": status})
            if outcome != OK:
                self._root.set_attribute("error.type", outcome)
            if status >= 500:
                self._root.set_status(otel.StatusCode.ERROR, outcome)
        self._root.end(self._clock.now())


def _kind(name: str) -> otel.SpanKind:
    """Return the kind of a phase's span: an exchange with an engine is a client's, every other phase is internal."""
    return otel.SpanKind.CLIENT if name.endswith(".upstream") else otel.SpanKind.INTERNAL


class OtelSpan:
    """A `Span`. It ends the OpenTelemetry span only if it owns it."""

    __slots__ = ("_clock", "_context", "_owned", "_span")

    def __init__(self, span: otel.Span, context: Context, clock: Clock, *, owned: bool) -> None:
        self._span = span
        self._context = context
        self._clock = clock
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
            self._span.set_status(otel.StatusCode.ERROR)  # not str(error): an engine's answer can quote the prompt
        self._span.end(self._clock.now())

    def set(self, name: str, value: Value) -> None:
        if self._owned:
            self._span.set_attribute(name, value)

    def inject(self, headers: MutableMapping[str, str]) -> None:
        headers.pop(TRACESTATE, None)
        W3C.inject(headers, self._context)
