"""One kept-alive connection, read by the event loop itself: a request's greenlet sleeps until its answer is complete.

When bytes arrive, the loop calls `_read`. Each read is time-stamped as it returns, and its body bytes go to the
exchange. A chunk needs no switch of greenlets and no timer, so it costs a few microseconds on top of the system call.
llhttp (httptools) parses the responses.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from time import perf_counter
from typing import Any

from gevent import get_hub
from gevent.core import READ
from gevent.hub import Waiter
from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from llm_bench.client.exchange import Exchange

READ_SIZE = 8192


class Connection:
    """A connection that carries one request at a time; `open` says whether it can carry another."""

    def __init__(self, socket: Any) -> None:
        """Take over `socket`, a connected gevent socket."""
        socket.settimeout(0)
        self._socket = socket
        self._recv: Callable[[int], bytes] = socket.recv
        self._pending: Callable[[], int] | None = getattr(socket, "pending", None)
        """Number of bytes that TLS has decrypted, of which the event loop does not know."""
        self._parser = HttpResponseParser(self)
        self._feed = self._parser.feed_data
        self._exchange: Exchange | None = None
        self._chunks: list[tuple[float, bytes]] = []
        self._waiter: Any = None
        self._sized = self._whole = self._interim = self._reusable = False
        self.heard_at = 0.0
        """When the last bytes arrived, or else when the request was sent."""
        self.open = True
        self._watcher = get_hub().loop.io(socket.fileno(), READ)
        self._watcher.start(self._read)

    def converse(self, request: bytes, exchange: Exchange, timeout: float) -> None:
        """Send the request. Return when its answer is complete or has failed; the exchange records which.

        `timeout` limits the wait for room to send, in seconds. Raise OSError if the request cannot be sent.
        """
        self._exchange, self._chunks, self._waiter = exchange, exchange.chunks, Waiter()
        self._sized = self._whole = self._reusable = False
        self.heard_at = perf_counter()
        self._send(request, timeout)
        self._waiter.get()

    def fail(self, kind: str, detail: str) -> None:
        """Fail the current exchange, if there is one, and close the connection. The event loop calls this."""
        if self._exchange is not None:
            self._exchange.failure, self._exchange.detail = kind, detail
        self.close()
        self._end()

    def close(self) -> None:
        if self.open:
            self.open = False
            self._watcher.stop()
            self._watcher.close()
            self._socket.close()

    # Callbacks of llhttp.

    def on_message_begin(self) -> None:
        self._sized = False

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        if name == b"content-type" and self._exchange is not None:
            self._exchange.content_type = value.decode("latin-1")
        elif name in (b"content-length", b"transfer-encoding"):
            self._sized = True

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        self._interim = status < 200
        if self._exchange is not None and not self._interim:
            self._exchange.status, self._exchange.headers_at = status, self.heard_at

    def on_body(self, data: bytes) -> None:
        self._chunks.append((self.heard_at, data))

    def on_message_complete(self) -> None:
        self._whole = not self._interim
        self._reusable = self._parser.should_keep_alive()  # it knows only now

    def _send(self, request: bytes, timeout: float) -> None:
        try:
            sent = self._socket.send(request)
        except (BlockingIOError, ssl.SSLWantWriteError):
            sent = 0
        if sent == len(request):
            return
        self._watcher.stop()  # while the socket waits for room, the loop must not read from it
        self._socket.settimeout(timeout)
        self._socket.sendall(request[sent:])
        self._socket.settimeout(0)
        self._watcher.start(self._read)

    def _read(self) -> None:
        """Read what has arrived. The event loop calls this in its own greenlet, so it must never wait."""
        while True:
            try:
                data = self._recv(READ_SIZE)
            except (BlockingIOError, ssl.SSLWantReadError):
                return
            except OSError as error:
                self.fail("reset", str(error))
                return
            self.heard_at = perf_counter()
            if self._exchange is None or not data:
                self._hang_up()
                return
            try:
                self._feed(data)
            except (HttpParserError, HttpParserUpgrade) as error:
                if not self._whole:
                    self.fail("protocol" if self._exchange.headers_at is None else "reset", str(error))
                    return
                self.close()  # the answer is whole, what came behind it is not ours
            if self._whole:
                self._end()
                return
            if self._pending is None or not self._pending():
                return

    def _hang_up(self) -> None:
        """Handle a close, or unrequested bytes: the end of an answer without a length, or a failure."""
        exchange = self._exchange
        if exchange is None:
            self.close()
        elif exchange.headers_at is None:
            self.fail("reset", "connection closed before the headers")
        elif self._sized:
            self.fail("reset", "connection closed before the end of the answer")
        else:
            self.close()
            self._end()

    def _end(self) -> None:
        if not self._reusable:
            self.close()
        self._exchange = None
        if self._waiter is not None:
            waiter, self._waiter = self._waiter, None
            waiter.switch(None)
