"""The byte path of a stream: engine to client, chunk by chunk, unparsed.

The one thing looked at is where an event ends. What follows the last event's end is held back until the rest arrives,
so an engine that dies in the middle of an event never leaves half of one with the client, and what comes after it (the
rest from another engine, or the event that tells of the failure) stands by itself. A complete event is never delayed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import orjson
from aiohttp import web

from llm_contract import sse
from llm_contract.errors import ApiError, ErrorKind
from llm_gateway.attempt import Answer
from llm_gateway.engines import Engine
from llm_gateway.replay import Splice, Transcript
from llm_gateway.upstream import EngineError, Upstream
from llm_gateway.upstream_http import Sink

EVENT_END = b"\n\n"
OTHER_EVENT_ENDS = (b"\r\n\r\n", b"\r\r")
EVENT_ENDS = (EVENT_END, *OTHER_EVENT_ENDS)
MAX_UNSENT_BYTES = 64 * 1024
"""A client that has this much to receive is waited for."""
MAX_HELD_BYTES = 4 * 1024 * 1024
"""An event larger than this is passed on in parts rather than kept."""


class WholeEvents:
    """Cuts a byte stream at ends of events."""

    def __init__(self) -> None:
        self._held = b""

    def feed(self, chunk: bytes) -> bytes:
        """All events that are complete by now, and were not given out before."""
        if self._held:
            chunk, self._held = self._held + chunk, b""
        if not chunk.endswith(EVENT_ENDS):
            end = max(chunk.rfind(mark) + len(mark) if mark in chunk else 0 for mark in EVENT_ENDS)
            if end or len(chunk) <= MAX_HELD_BYTES:
                chunk, self._held = chunk[:end], chunk[end:]
        return chunk


class Relay:
    """One client's stream, fed by one engine or, if that dies, by the next. `client` is prepared."""

    def __init__(
        self,
        client: web.StreamResponse,
        transport: asyncio.Transport | None,
        upstream: Upstream,
        clock: Callable[[], float],
        keep: bool,
        *,
        ends_with_done: bool = True,
    ) -> None:
        self._client = client
        self._transport = transport
        self._upstream = upstream
        self._clock = clock
        self._ends_with_done = ends_with_done
        """Other APIs' streams end where the engine's HTTP answer ends."""
        self.transcript = Transcript() if keep else None
        """What the client has had, if it is kept for a replay."""
        self.events = 0
        """That were passed on: about one per token."""
        self._last = b""
        self._before_last = b""

    async def run(self, answer: Answer, splice: Splice | None = None) -> EngineError | None:
        """Passes an engine's stream on to its end. Returns the failure if it broke off or ended without `[DONE]`.

        A client that keeps up is written to from the engine's own read callback, one HTTP chunk at a time and no task
        in between; one that lags is waited for. Raises ConnectionError if the client is gone.
        """
        engine, source, events = answer.engine, answer.source, WholeEvents()
        forward = self._forwarder(engine, events) if splice is None and self._client.chunked else None
        chunk = answer.first
        try:
            while chunk:
                if whole := events.feed(chunk):
                    await self._write(whole if splice is None else splice.rewrite(whole))
                if forward is not None and self._last and forward(b""):
                    await self._upstream.pipe(engine, source, forward)
                chunk = await self._upstream.read_some(engine, source)
                engine.progressed(self._clock())
        except EngineError as error:
            return error
        except ValueError as error:
            reason = f"not an OpenAI stream: {error}"
            return EngineError(engine, "body", ErrorKind.ENGINE_FAILED, reason, retryable=False)
        if not self._ends_with_done or self._last.rstrip(b"\r\n").endswith(sse.DONE_DATA):
            return None
        reason = "the stream ended before it was complete"
        return EngineError(engine, "body", ErrorKind.ENGINE_FAILED, reason, retryable=True)

    def _forwarder(self, engine: Engine, events: WholeEvents) -> Sink:
        """Writes whole events as a chunk each, beside the response's own writer; False when the client lags or is gone.

        Only once that writer has sent the response's head, which it does with its first chunk.
        """
        transport, clock = self._transport, self._clock

        def forward(part: bytes) -> bool:
            if transport is None or transport.is_closing():
                return False
            if whole := events.feed(part):
                engine.progressed(clock())
                self._note(whole)
                transport.write(b"%x\r\n%b\r\n" % (len(whole), whole))
            return transport.get_write_buffer_size() < MAX_UNSENT_BYTES

        return forward

    async def finish(self, failure: EngineError | None) -> None:
        """Tells the client of the failure, if there is one, and ends its stream."""
        if failure is not None:
            error = ApiError(failure.kind, f"engine failed in mid-stream: {failure}")
            await self._client.write(sse.encode(error.body()))
        await self._client.write_eof()

    async def complete(self) -> None:
        """For a stream that lacked nothing but its end mark."""
        await self._client.write(sse.DONE)

    def usage(self) -> tuple[int, int] | None:
        """(prompt tokens, output tokens) that the engine put into one of the last events, None if it did not."""
        tail = self._before_last + self._last
        if b'"usage":' not in tail:
            return None
        found = None
        for data in sse.Decoder().feed(tail):
            found = usage_in(data) or found
        return found

    async def _write(self, whole: bytes) -> None:
        if whole:
            self._note(whole)
            await self._client.write(whole)

    def _note(self, whole: bytes) -> None:
        """For all that goes out, just before it does."""
        self.events += whole.count(EVENT_END) or sum(whole.count(mark) for mark in OTHER_EVENT_ENDS)
        self._before_last, self._last = self._last, whole
        if self.transcript is not None:
            self.transcript.add(whole)


def usage_in(raw: bytes) -> tuple[int, int] | None:
    """(prompt tokens, output tokens) of an OpenAI object that has its `usage`, None for everything else."""
    try:
        usage = orjson.loads(raw)["usage"]
        return int(usage["prompt_tokens"]), int(usage["completion_tokens"])
    except (ValueError, LookupError, TypeError):
        return None
