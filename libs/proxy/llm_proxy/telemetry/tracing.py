"""Traces of requests: the interface, and an implementation that does nothing.

PROGRAM.request          the server span; the client's `traceparent` is its parent
├─ …                     the program's own phases, such as gateway.queue, router.pick and engine.prefill
└─ PROGRAM.upstream      one exchange with an engine, which gets this span as its `traceparent`

    trace = tracing.begin(request.headers, request.path)
    with trace.span("gateway.queue"):
        permit = await …
    with trace.span("gateway.upstream") as span:
        span.inject(engine_headers)
    trace.end(outcome, status)

Tracing is off by default. Then `begin` returns a shared object whose methods do nothing, and OpenTelemetry is not
imported.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, MutableMapping
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, FilePath, field_validator

Value = str | int | float | bool | tuple[str, ...]


class TracingSettings(BaseModel):
    """OpenTelemetry traces, sent as OTLP over HTTP."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    otlp_endpoint: str = Field("", description="URL such as http://127.0.0.1:4318/v1/traces; empty: no tracing")
    otlp_key_file: FilePath | None = Field(
        None, description="file with the key that the receiver wants; spans bring it as `Authorization: Bearer`"
    )
    sample_ratio: float = Field(
        1.0, ge=0, le=1, description="part of the requests that is traced, unless the client's traceparent decides"
    )
    service_name: str | None = Field(
        None, min_length=1, description="service.name of the OpenTelemetry resource; the program's own name if not set"
    )

    @field_validator("otlp_endpoint")
    @classmethod
    def _is_url(cls, text: str) -> str:
        if text and not is_http_url(text):
            raise ValueError(f"{text[:80]!r} is no URL such as http://127.0.0.1:4318/v1/traces")
        return text


def is_http_url(text: str) -> bool:
    """Return whether a text is a URL with http or https and a host that can be connected to."""
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number
        return False


@dataclass(slots=True)
class SpanCounts:
    """The finished spans that left the process, by how they ended."""

    sent: int = 0
    failed: int = 0
    """The receiver was down, slow or refused them."""
    dropped: int = 0
    """Spans came faster than they were sent."""


class Span(Protocol):
    """A phase of a request: the time of a `with` block. An exception that leaves the block is recorded as its error."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, stack: TracebackType | None
    ) -> None: ...

    def set(self, name: str, value: Value) -> None: ...

    def inject(self, headers: MutableMapping[str, str]) -> None:
        """Set traceparent and tracestate in `headers`, so that the receiver's spans become children of this one."""


class Trace(Protocol):
    """The trace of one request."""

    @property
    def trace_id(self) -> str | None:
        """32 hex digits; None if tracing is off."""

    @property
    def is_recording(self) -> bool:
        """True if the request is sampled."""

    def span(self, name: str) -> Span: ...

    def record(
        self,
        name: str,
        begin: float,
        end: float,
        attributes: Mapping[str, Value],
        *,
        events: Iterable[tuple[str, float]] = (),
    ) -> None:
        """Record a phase that is over, with its (name, time) events. Times are of the monotonic clock, in seconds."""

    def set(self, name: str, value: Value | None) -> None:
        """Set an attribute of the request's span, unless `value` is None. The names are below."""

    def event(self, name: str) -> None:
        """Record an event, such as the first token."""

    def end(self, outcome: str, status: int) -> None:
        """End the trace, exactly once. `outcome` is the label of the requests' counter, `status` the HTTP status."""


class Tracing(Protocol):
    """The source of traces."""

    @property
    def counts(self) -> SpanCounts:
        """The spans that have left the process, all zero if tracing is off."""

    def begin(self, headers: Mapping[str, str], path: str) -> Trace: ...

    def close(self) -> None:
        """Send the waiting spans, for a few seconds at most. This blocks: do not call it in the event loop."""


# Attributes of a request's span, by OpenTelemetry's semantic conventions for generative AI.
OPERATION = "gen_ai.operation.name"
MODEL = "gen_ai.request.model"
MAX_TOKENS = "gen_ai.request.max_tokens"
STREAM = "gen_ai.request.stream"
INPUT_TOKENS = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS = "gen_ai.usage.output_tokens"
TIME_TO_FIRST_CHUNK = "gen_ai.response.time_to_first_chunk"
"""Seconds."""

FIRST_TOKEN = "first_token"


class NoSpan:
    __slots__ = ()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, stack: TracebackType | None
    ) -> None:
        pass

    def set(self, name: str, value: Value) -> None:
        pass

    def inject(self, headers: MutableMapping[str, str]) -> None:
        """Keep the client's headers, so that its trace continues at the engine."""


class NoTrace:
    __slots__ = ()
    trace_id: str | None = None
    is_recording = False

    def record(
        self,
        name: str,
        begin: float,
        end: float,
        attributes: Mapping[str, Value],
        *,
        events: Iterable[tuple[str, float]] = (),
    ) -> None:
        pass

    def span(self, name: str) -> NoSpan:
        return NO_SPAN

    def set(self, name: str, value: Value | None) -> None:
        pass

    def event(self, name: str) -> None:
        pass

    def end(self, outcome: str, status: int) -> None:
        pass


class NoTracing:
    __slots__ = ()

    @property
    def counts(self) -> SpanCounts:
        return SpanCounts()

    def begin(self, headers: Mapping[str, str], path: str) -> NoTrace:
        return NO_TRACE

    def close(self) -> None:
        pass


NO_SPAN, NO_TRACE = NoSpan(), NoTrace()
