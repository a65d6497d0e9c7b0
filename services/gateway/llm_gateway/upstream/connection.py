"""HTTP/1.1 towards the engines: one connection, one exchange at a time, parsed by llhttp (httptools).

    connection.begin(request_head + body)      one write
    response = await connection.response()     when status and headers are there
    await response.read() / read_some()        the body, whole or as it comes
    response.close()                           an unread rest ends the connection

HttpError
├─ ConnectFailed   never connected: nothing was sent
├─ Silent          not a byte for too long
├─ BrokenOff       the connection ended before the response did
└─ Malformed       what came is not HTTP, or its head is too large

A connection whose exchange ended well goes back to its pool by itself, as soon as the last byte is parsed and before
anybody has read it: `Response` holds the bytes, and knows its connection only until then.
"""

from __future__ import annotations

import asyncio
import time
import zlib
from collections.abc import Callable, Mapping
from typing import cast

import httptools

MAX_HEAD_BYTES = 64 * 1024
"""Limit of a response head; checked after each read, so up to one socket read more is parsed."""
MAX_BUFFERED_BYTES = 256 * 1024
"""Limit of a body that is not read: above this the engine has to wait."""
FIRST_FINAL_STATUS = 200
ASKED_ENCODING = "accept-encoding: identity"
GZIP_OR_ZLIB = 47
"""zlib's window bits for either format, recognised by its header."""
MAX_INFLATED_BYTES = 64 * 1024 * 1024
SERVERS_KEEP_IDLE_SECONDS = 1.0
"""No server closes a connection that was idle for less; uvicorn does after 5."""


Sink = Callable[[bytes], bool]
"""Takes a part of a body, and says whether it takes the next one too. It must not raise."""


class HttpError(Exception):
    """An exchange failed; which way, its subclass says."""


class ConnectFailed(HttpError): ...


class Silent(HttpError): ...


class BrokenOff(HttpError): ...


class Malformed(HttpError): ...


def request_head(method: str, path: str, host: str, headers: Mapping[str, str], *, body_length: int) -> bytes:
    """Request line and headers. Raises ValueError if a part would break the line it is in."""
    lines = [f"{method} {path} HTTP/1.1", f"host: {host}", f"content-length: {body_length}", ASKED_ENCODING]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    head = "\r\n".join(lines)
    if head.count("\r") != len(lines) - 1 or head.count("\n") != len(lines) - 1 or " " in path:
        raise ValueError("a line break in a request's header, or a space in its path")
    return head.encode("utf-8", "surrogateescape") + b"\r\n\r\n"


class Encoding:
    """Decodes a body that an engine compressed though it was asked not to."""

    __slots__ = ("_inflate",)

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(GZIP_OR_ZLIB)

    @classmethod
    def of(cls, name: str | None) -> Encoding | None:
        """Raises Malformed for an encoding that is not known."""
        if name is None or name.strip().lower() in ("", "identity"):
            return None
        if name.strip().lower() not in ("gzip", "x-gzip", "deflate"):
            raise Malformed(f"the content-encoding {name[:32]!r}, which was not asked for")
        return cls()

    def decode(self, part: bytes) -> bytes:
        """Raises Malformed for what is not compressed, and for what grows too large."""
        try:
            decoded = self._inflate.decompress(part, MAX_INFLATED_BYTES)
        except zlib.error as error:
            raise Malformed(f"the body is not compressed as its headers say: {error}") from None
        if self._inflate.unconsumed_tail:
            raise Malformed(f"a part of the body inflates to more than {MAX_INFLATED_BYTES} bytes")
        return decoded

    def end(self) -> None:
        """Raises Malformed if the body is not whole."""
        if not self._inflate.eof:
            raise Malformed("the compressed body is cut off")


class Response:
    """`status` and `headers` (names in lower case, the last of equals) are final; the body may still be under way."""

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
        """Without its parameters, in lower case; empty if there is none."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    async def read(self) -> bytes:
        """The whole rest of the body. Raises HttpError."""
        while not self._complete:
            self._raise_error()
            if self._connection is not None and self._buffered > MAX_BUFFERED_BYTES:
                self._connection.resume()
            await self._change()
        return self._take()

    async def read_some(self) -> bytes:
        """Read what has arrived, waiting for at least one byte; empty at the end. Raises HttpError."""
        while not self._parts and not self._complete:
            self._raise_error()
            await self._change()
        return self._take()

    async def pipe(self, sink: Sink) -> None:
        """Gives each part of the body to `sink` in the moment it is parsed, without waking a task for it.

        Returns at the end, or when `sink` said False; what comes then waits for a reader. Raises HttpError.
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
        """Ends the connection unless the response is complete; then there is nothing left to do."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abort()

    def let_end(self, seconds: float) -> None:
        """Drop the unneeded rest of the body, so that the connection can be used again; then close it."""
        if self._connection is None:
            return
        self._parts, self._buffered = [], 0
        self._sink = _drop
        self._connection.resume()
        asyncio.get_running_loop().call_later(seconds, self.close)

    async def head(self) -> None:
        """Returns when status and headers are there. Raises HttpError."""
        while not self.status:
            self._raise_error()
            await self._change()

    def begin(self, status: int) -> None:
        """For Connection, as everything below."""
        self.status = status
        self._wake()

    def feed(self, part: bytes) -> int:
        """Returns how many bytes wait to be read."""
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
        """Neither a length nor chunks say where its body ends."""
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
    """`on_idle` is called when it can take the next request, `on_lost` once, when it never will again."""

    def __init__(self, on_idle: Callable[[Connection], None], on_lost: Callable[[Connection], None]) -> None:
        self._on_idle = on_idle
        self._on_lost = on_lost
        self._parser = httptools.HttpResponseParser(self)
        self._response: Response | None = None
        self._head_bytes = 0
        self._encoding: Encoding | None = None
        """Decoder of the present response's body, None for one that is sent as it is."""
        self._paused = False
        self._was_idle = 0.0
        self.is_open = False
        self.heard = time.monotonic()
        """When the last byte came, or the request was sent; when idle, since when."""

    def is_silent(self, since: float) -> bool:
        """Nothing came after `since`, though we did read."""
        return self.heard < since and not self._paused

    @property
    def may_have_been_idle_too_long(self) -> bool:
        """It was idle before its present request, and has not had a byte of answer to it."""
        return self._was_idle >= SERVERS_KEEP_IDLE_SECONDS and not self._head_bytes

    def begin(self, request: bytes) -> Response:
        """Sends a request; the connection must be idle and open."""
        now = time.monotonic()
        self._was_idle, self.heard = now - self.heard, now
        self._head_bytes = 0
        self._response = response = Response(self)
        self._transport.write(request)
        return response

    def abort(self, error: HttpError | None = None) -> None:
        """Ends the connection at once, which tells the engine to give the request up."""
        self._end(error or BrokenOff("closed by us"))
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
        self._end(BrokenOff("the connection broke off"))

    # --- callbacks of the parser ----------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        if self._response is None:
            raise Malformed("more than was asked for")

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
        if not response.status:  # 1xx: the real one follows
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
