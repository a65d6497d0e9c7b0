"""One kept-alive connection, read by the event loop itself: a request's greenlet sleeps until its answer is whole.

Whenever bytes have arrived the loop calls `_read`: one read, stamped as it returns, and its body bytes go to the
exchange. No greenlet is switched to and no timer is set for a chunk, so a chunk costs a few microseconds beside the
system call. llhttp (httptools) reads the responses.
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
    """Carries one request at a time; `open` says whether it can carry another."""

    def __init__(self, socket: Any) -> None:
        """`socket`: gevent's, connected; it belongs to the connection from here on."""
        socket.settimeout(0)
        self._socket = socket
        self._recv: Callable[[int], bytes] = socket.recv
        self._pending: Callable[[], int] | None = getattr(socket, "pending", None)
        """Bytes that TLS has decrypted and the loop does not know of."""
        self._parser = HttpResponseParser(self)
        self._feed = self._parser.feed_data
        self._exchange: Exchange | None = None
        self._chunks: list[tuple[float, bytes]] = []
        self._waiter: Any = None
        self._sized = self._whole = self._interim = self._reusable = False
        self.heard_at = 0.0
        """When the last bytes came, or the request went."""
        self.open = True
        self._watcher = get_hub().loop.io(socket.fileno(), READ)
        self._watcher.start(self._read)

    def converse(self, request: bytes, exchange: Exchange, timeout: float) -> None:
        """Sends, and returns when the answer is whole or has failed, which the exchange then says.

        `timeout`: longest wait in seconds for room to send. Raises OSError if it cannot be sent.
        """
        self._exchange, self._chunks, self._waiter = exchange, exchange.chunks, Waiter()
        self._sized = self._whole = self._reusable = False
        self.heard_at = perf_counter()
        self._send(request, timeout)
        self._waiter.get()

    def fail(self, kind: str, detail: str) -> None:
        """Ends the exchange that is under way, if there is one, and the connection. To be called by the event loop."""
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

    # What llhttp calls while it is fed.

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
        """Called by the event loop, in its own greenlet: must not wait for anything."""
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
        """The other side closed, or spoke unasked: the end of an answer that has no length, or a failure."""
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
