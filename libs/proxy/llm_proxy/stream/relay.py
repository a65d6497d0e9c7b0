"""The byte path of a stream, from the engine to the client, chunk by chunk. `stream_filter` selects the bytes.

Once the client has the head of the response, no second head can follow. So every failure ends in an error event and the
end of the stream, or in the end of the connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from aiohttp import web

from llm_contract import sse
from llm_contract.errors import ApiError, ErrorKind
from llm_proxy.stream.filter import StreamFilter
from llm_proxy.stream.token_counts import TokenCounts
from llm_proxy.stream.transcript import Transcript
from llm_proxy.upstream.client import Engine, EngineError, Upstream
from llm_proxy.upstream.connection import Response, Sink
from llm_proxy.upstream.refusal import Refusal, stream_failure
from llm_proxy.upstream.target import Target

MAX_UNSENT_BYTES = 64 * 1024
"""The relay waits for a client that has more unsent bytes than this."""


class Relay:
    """One client's stream: from one engine or, if that dies, from the next. The caller prepares `client`."""

    def __init__(
        self,
        client: web.StreamResponse,
        transport: asyncio.Transport | None,
        upstream: Upstream,
        clock: Callable[[], float],
        *,
        keep: bool,
    ) -> None:
        self.client = client
        self._transport = transport
        self._upstream = upstream
        self._clock = clock
        self.transcript = Transcript() if keep else None
        """The events that the client has received, if they are kept to resume the stream."""
        self.broken = False
        """An engine has failed in mid-stream, and not for a mistake of the client's."""
        self._begun = False
        self._streams: list[StreamFilter] = []

    @property
    def events(self) -> int:
        """Number of events passed on: about one per token."""
        return sum(stream.events for stream in self._streams)

    def usage(self) -> TokenCounts | None:
        """Return the last engine's token counts for the whole answer, None if it stated none."""
        return self._streams[-1].usage() if self._streams else None

    async def run(
        self, engine: Engine, source: Response, events: StreamFilter, first: bytes
    ) -> EngineError[Engine] | None:
        """Pass an engine's stream on until it ends, `first` and the rest. Return the failure if it is incomplete.

        The engine's read callback writes directly to a client that keeps up, one HTTP chunk at a time, without a task
        in between. The relay waits for a client that lags. Raise ConnectionError if the client is gone.
        """
        self._streams.append(events)
        forward = self._forwarder(engine, events) if self.client.chunked else None
        await self._write(first)
        try:
            while events.is_open:
                if forward is not None and self._begun and forward(b""):
                    await self._upstream.pipe(engine, source, forward)
                if not await self._read_on(engine, source, events):
                    break
        except EngineError as error:
            await self._write(events.end(disconnected=True))
            return None if events.is_complete else error
        return stream_failure(engine, source, events)

    async def _read_on(self, engine: Target, source: Response, events: StreamFilter) -> bool:
        """Pass on the next chunk. Return False at the end of the engine's bytes."""
        if not events.is_open:
            return False
        chunk = await self._upstream.read_some(engine, source)
        engine.progressed(self._clock())
        await self._write(events.feed(chunk) if chunk else events.end())
        return bool(chunk)

    def _forwarder(self, engine: Target, events: StreamFilter) -> Sink:
        """Return a sink that writes whole events as HTTP chunks, bypassing the response's own writer.

        The sink returns False when the stream has ended, and when the client lags or is gone. Use it only after the
        response's writer has sent the head, which goes out with the first chunk.
        """
        transport, clock = self._transport, self._clock

        def forward(part: bytes) -> bool:
            if transport is None or transport.is_closing():
                return False
            if part and (whole := events.feed(part)):
                engine.progressed(clock())
                if self.transcript is not None:
                    self.transcript.add(whole)
                transport.write(b"%x\r\n%b\r\n" % (len(whole), whole))
            return events.is_open and transport.get_write_buffer_size() < MAX_UNSENT_BYTES

        return forward

    async def finish(self, failure: EngineError[Any] | None) -> None:
        """End the stream. Send the failure first, if there is one, in the engine's own words where it gave any."""
        if isinstance(failure, Refusal):
            await self._write(failure.body)
        elif failure is not None:
            await self.fail(ApiError(failure.kind, f"the engine failed in mid-stream: {failure}"))
        await self.client.write_eof()

    async def complete(self, last: bytes | None) -> None:
        """Send the missing end of a stream whose answer is complete."""
        await self._write((last or b"") + sse.DONE)

    async def fail(self, error: ApiError) -> None:
        await self._write(sse.encode(error.body()))

    async def give_up(self) -> None:
        """End a stream and its connection after a defect of the service."""
        self.client.force_close()
        try:
            await self.fail(ApiError(ErrorKind.INTERNAL, "the server failed; see its log"))
            await self.client.write_eof()
        except Exception:  # noqa: BLE001 - the caller has logged the defect; the client cannot be told more
            if self._transport is not None:
                self._transport.abort()

    async def _write(self, whole: bytes) -> None:
        if whole:
            self._begun = True
            if self.transcript is not None:
                self.transcript.add(whole)
            await self.client.write(whole)
