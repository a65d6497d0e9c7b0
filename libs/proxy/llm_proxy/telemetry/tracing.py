"""Traces of requests: the interface, and an implementation that does nothing.

PROGRAM.request          the server span; the client's `traceparent` is its parent
├─ …                     the program's own phases, such as gateway.queue and router.pick
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

from collections.abc import Mapping, MutableMapping
from types import TracebackType
from typing import Protocol, Self

from pydantic import BaseModel, ConfigDict, Field, FilePath

Value = str | int | float | bool


class TracingSettings(BaseModel):
    """OpenTelemetry traces, sent as OTLP over HTTP."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    otlp_endpoint: str = Field(
        "", pattern="^(https?://.+)?$", description="URL such as http://127.0.0.1:4318/v1/traces; empty: no tracing"
    )
    otlp_key_file: FilePath | None = Field(
        None, description="file with the key that the receiver wants; spans bring it as `Authorization: Bearer`"
    )
    sample_ratio: float = Field(
        1.0, ge=0, le=1, description="part of the requests that is traced, unless the client's traceparent decides"
    )
    service_name: str | None = Field(
        None, min_length=1, description="service.name of the OpenTelemetry resource; the program's own name if not set"
    )


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

    def span(self, name: str) -> Span: ...

    def set(self, name: str, value: Value | None) -> None:
        """Set an attribute of the request's span, unless `value` is None. The names are below."""

    def event(self, name: str) -> None:
        """Record an event, such as the first token."""

    def end(self, outcome: str, status: int) -> None:
        """End the trace, exactly once. `outcome` is the label of the requests' counter, `status` the HTTP status."""


class Tracing(Protocol):
    """The source of traces."""

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

    def begin(self, headers: Mapping[str, str], path: str) -> NoTrace:
        return NO_TRACE

    def close(self) -> None:
        pass


NO_SPAN, NO_TRACE = NoSpan(), NoTrace()
