"""An engine's answer from its first bytes on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Generic, Self

from llm_proxy.stream.filter import StreamFilter
from llm_proxy.telemetry.tracing import Span
from llm_proxy.upstream.client import Engine, Upstream
from llm_proxy.upstream.connection import Response
from llm_proxy.upstream.refusal import stream_failure
from llm_proxy.upstream.slot import EngineSlot

EVENT_STREAM = "text/event-stream"
LAST_BYTES_SECONDS = 1.0
"""Time after a stream's [DONE] in which the engine can end its answer before the connection is closed."""


@dataclass(slots=True, eq=False)
class Answer(Generic[Engine]):
    """An engine's answer whose first bytes have arrived. Leaving the `with` block closes it and gives the slot back."""

    slot: EngineSlot[Engine]
    source: Response
    span: Span
    first: bytes
    """The first bytes of a stream for the client, or the whole body."""
    events: StreamFilter | None = None
    """The stream's filter; None unless the answer is a stream."""
    refused: bool = False
    """The body is an error object that blames the client."""

    @property
    def engine(self) -> Engine:
        return self.slot.engine

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.events is not None and self.events.is_complete:
            self.source.let_end(LAST_BYTES_SECONDS)
        else:
            self.source.close()
        self.slot.release()
        self.span.__exit__(kind, error, trace)


async def first_bytes(
    upstream: Upstream, slot: EngineSlot[Engine], source: Response, events: StreamFilter, *, clock: Callable[[], float]
) -> bytes:
    """Return the stream's first bytes for the client. Raise EngineError if it fails before any."""
    slot.started_stream()
    engine, first = slot.engine, b""
    while events.is_open and not first:
        chunk = await upstream.read_some(engine, source)
        engine.progressed(clock())
        first = events.feed(chunk) if chunk else events.end()
        if not chunk:
            break
    failure = None if first else stream_failure(engine, source, events)
    if failure is not None and failure.retryable:
        raise failure
    return first
