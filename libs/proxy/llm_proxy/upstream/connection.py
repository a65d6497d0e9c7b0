"""HTTP/1.1 towards the engines: one exchange at a time on a connection, parsed by llhttp (httptools).

    response = connection.begin(request_head + body)     one write
    await response.head()                                status and headers have arrived
    await response.read() / read_some()                  the body, whole or as it arrives
    response.close()                                     aborts the connection if the body is not complete

HttpError
├─ ConnectFailed   no connection was made, so nothing was sent
│  └─ ConnectLate  … within the time allowed: the engine can be busy, or gone
├─ Silent          no byte arrived for too long
├─ Disconnected    the connection ended before the response
└─ Malformed       the response is not HTTP, or its head is too large

After a complete exchange the connection returns to its pool by itself, as soon as the last byte is parsed and before
the body is read: `Response` holds the bytes and drops its connection then.
"""

from __future__ import annotations

import asyncio
import time
import zlib
from collections.abc import Callable, Mapping
from typing import cast

import httptools

MAX_HEAD_BYTES = 64 * 1024
"""Limit of a response head. It is checked after each read, so up to one more socket read is parsed."""
MAX_BUFFERED_BYTES = 256 * 1024
"""Limit of the unread part of a body. Above it the client stops reading, so the engine has to wait."""
FIRST_FINAL_STATUS = 200
ASKED_ENCODING = "accept-encoding: identity"
GZIP_OR_ZLIB = 47
"""zlib's window bits for either format, recognised by its header."""
MAX_INFLATED_BYTES = 64 * 1024 * 1024
SERVERS_KEEP_IDLE_SECONDS = 1.0
"""Idle time that every server allows before it closes a connection; uvicorn allows 5 seconds."""


Sink = Callable[[bytes], bool]
"""Takes a part of a body and returns whether it takes the next one as well. It must not raise."""


class HttpError(Exception):
    """A failed exchange. The subclass says how it failed."""


class ConnectFailed(HttpError): ...


class ConnectLate(ConnectFailed): ...


class Silent(HttpError): ...


class Disconnected(HttpError): ...


class Malformed(HttpError): ...


def request_head(method: str, path: str, host: str, headers: Mapping[str, str], *, body_length: int) -> bytes:
    """Return request line and headers as bytes. Raise ValueError if a part contains a line break."""
    lines = [f"{method} {path} HTTP/1.1", f"host: {host}", f"content-length: {body_length}", ASKED_ENCODING]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    head = "\r\n".join(lines)
    if head.count("\r") != len(lines) - 1 or head.count("\n") != len(lines) - 1 or " " in path:
        raise ValueError("a line break in a request header, or a space in the path")
    return head.encode("utf-8", "surrogateescape") + b"\r\n\r\n"


class Encoding:
    """The decoder of a body that an engine compressed although it was asked not to."""

    __slots__ = ("_inflate",)

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(GZIP_OR_ZLIB)

    @classmethod
    def of(cls, name: str | None) -> Encoding | None:
        """Return a decoder for a content-encoding, None if there is none. Raise Malformed if it is unknown."""
        if name is None or name.strip().lower() in ("", "identity"):
            return None
        if name.strip().lower() not in ("gzip", "x-gzip", "deflate"):
            raise Malformed(f"unsupported content-encoding {name[:32]!r}")
        return cls()

    def decode(self, part: bytes) -> bytes:
        """Return the decoded part. Raise Malformed if it is not compressed or inflates too much."""
        try:
            decoded = self._inflate.decompress(part, MAX_INFLATED_BYTES)
        except zlib.error as error:
            raise Malformed(f"the body is not compressed as its headers say: {error}") from None
        if self._inflate.unconsumed_tail:
            raise Malformed(f"a part of the body inflates to more than {MAX_INFLATED_BYTES} bytes")
        return decoded

    def end(self) -> None:
        """Raise Malformed if the body is incomplete."""
        if not self._inflate.eof:
            raise Malformed("the compressed body is cut off")


class Response:
    """A response whose body can still be arriving. Header names are in lower case; the last of equal ones counts."""

    __slots__ = ("_buffered", "_complete", "_connection", "_error", "_parts", "_sink", "_waiter", "headers", "status")

    def __init__(self, connection: Connection) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self._connection: Connection | None = connection
        self._parts: list[bytes] = []
        self._buffered = 0
        self._complete = False
        self._error: HttpError | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._sink: Sink | None = None

    @property
    def content_type(self) -> str:
        """The content type in lower case without parameters; empty if there is none."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    async def read(self) -> bytes:
        """Return the rest of the body. Raise HttpError."""
        while not self._complete:
            self._raise_error()
            if self._connection is not None and self._buffered > MAX_BUFFERED_BYTES:
                self._connection.resume()
            await self._change()
        return self._take()

    async def read_some(self) -> bytes:
        """Return the next bytes of the body, at least one; empty at the end. Raise HttpError."""
        while not self._parts and not self._complete:
            self._raise_error()
            await self._change()
        return self._take()

    async def pipe(self, sink: Sink) -> None:
        """Pass each part of the body to `sink` when it is parsed, without waking a task.

        Return at the end, or when `sink` returned False; later parts wait for a reader. Raise HttpError.
        """
        if self._parts and not sink(self._take()):
            return
        self._sink = sink
        try:
            while self._sink is not None and not self._complete:
                self._raise_error()
                await self._change()
        finally:
            self._sink = None

    def close(self) -> None:
        """Abort the connection, unless the response is complete."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abort()

    def let_end(self, seconds: float) -> None:
        """Drop the rest of the body, so that the connection can be reused. Abort it if that takes over `seconds`."""
        if self._connection is None:
            return
        self._parts, self._buffered = [], 0
        self._sink = _drop
        self._connection.resume()
        asyncio.get_running_loop().call_later(seconds, self.close)

    async def head(self) -> None:
        """Wait until status and headers have arrived. Raise HttpError."""
        while not self.status:
            self._raise_error()
            await self._change()

    def begin(self, status: int) -> None:
        """Take the final status. This method and those below are for Connection."""
        self.status = status
        self._wake()

    def feed(self, part: bytes) -> int:
        """Take a part of the body. Return the number of unread bytes."""
        if self._sink is not None:
            if not self._sink(part):
                self._sink = None
                self._wake()
            return 0
        self._parts.append(part)
        self._buffered += len(part)
        self._wake()
        return self._buffered

    def complete(self) -> None:
        self._complete = True
        self._connection = None
        self._wake()

    def fail(self, error: HttpError) -> None:
        self._error = error
        self._connection = None
        self._wake()

    @property
    def ends_with_connection(self) -> bool:
        """Whether the end of the connection is the end of the body: it has neither a length nor chunks."""
        chunked = self.headers.get("transfer-encoding", "").lower().endswith("chunked")
        return bool(self.status) and not chunked and "content-length" not in self.headers

    def _take(self) -> bytes:
        parts = self._parts
        if not parts:
            return b""
        taken = parts[0] if len(parts) == 1 else b"".join(parts)
        self._parts = []
        if self._connection is not None and self._buffered > MAX_BUFFERED_BYTES:
            self._connection.resume()
        self._buffered = 0
        return taken

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error

    async def _change(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)


def _drop(part: bytes) -> bool:
    return True


class Connection(asyncio.Protocol):
    """A connection to an engine. `on_idle` is called when it can take a request, `on_lost` once when it has ended."""

    def __init__(self, on_idle: Callable[[Connection], None], on_lost: Callable[[Connection], None]) -> None:
        self._on_idle = on_idle
        self._on_lost = on_lost
        self._parser = httptools.HttpResponseParser(self)
        self._response: Response | None = None
        self._head_bytes = 0
        self._encoding: Encoding | None = None
        """Decoder of the current response's body, None if it is not compressed."""
        self._paused = False
        self._was_idle = 0.0
        self.is_open = False
        self.heard = time.monotonic()
        """Time of the last byte, of the request that was sent, or of the start of the idle period."""

    def is_silent(self, since: float) -> bool:
        """Return whether no byte has arrived after `since` although the client was reading."""
        return self.heard < since and not self._paused

    @property
    def may_have_been_idle_too_long(self) -> bool:
        """Whether it was idle before its current request and has not received a byte of the answer."""
        return self._was_idle >= SERVERS_KEEP_IDLE_SECONDS and not self._head_bytes

    def begin(self, request: bytes) -> Response:
        """Send a request. The connection must be idle and open."""
        now = time.monotonic()
        self._was_idle, self.heard = now - self.heard, now
        self._head_bytes = 0
        self._response = response = Response(self)
        self._transport.write(request)
        return response

    def abort(self, error: HttpError | None = None) -> None:
        """End the connection at once. This makes the engine abort the request."""
        self._end(error or Disconnected("closed by the client"))
        self._transport.abort()

    def resume(self) -> None:
        if self._paused:
            self._paused = False
            self.heard = time.monotonic()
            self._transport.resume_reading()

    # --- asyncio.Protocol -----------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.is_open = True

    def data_received(self, data: bytes) -> None:
        self.heard = time.monotonic()
        response = self._response
        if response is None:
            self.abort()
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self.abort(Malformed(str(error.__context__ or error)))
            return
        if not response.status:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self.abort(Malformed(f"the response's head is over {MAX_HEAD_BYTES} bytes"))

    def connection_lost(self, error: Exception | None) -> None:
        response = self._response
        if error is None and response is not None and response.ends_with_connection:
            self._response = None
            response.complete()
        self._end(Disconnected("the engine disconnected"))

    # --- callbacks of the parser ----------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        if self._response is None:
            raise Malformed("a response without a request")

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._response is not None:
            self._response.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if self._response is not None and status >= FIRST_FINAL_STATUS:
            self._encoding = Encoding.of(self._response.headers.get("content-encoding"))
            self._response.begin(status)

    def on_body(self, part: bytes) -> None:
        if self._encoding is not None:
            part = self._encoding.decode(part)
        if self._response is not None and self._response.feed(part) > MAX_BUFFERED_BYTES and not self._paused:
            self._paused = True
            self._transport.pause_reading()

    def on_message_complete(self) -> None:
        response = self._response
        if response is None:
            return
        if not response.status:  # 1xx: the final response follows
            response.headers.clear()
            return
        if self._encoding is not None:
            self._encoding.end()
        self._response = None
        response.complete()
        if self._parser.should_keep_alive() and not self._transport.get_write_buffer_size():
            self.resume()
            self._on_idle(self)
        else:
            self.abort()

    def _end(self, error: HttpError) -> None:
        response, self._response = self._response, None
        if response is not None:
            response.fail(error)
        if self.is_open:
            self.is_open = False
            self._on_lost(self)
