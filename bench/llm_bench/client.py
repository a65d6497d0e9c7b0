"""Bytes out, time-stamped bytes in: the hot path, on gevent.

geventhttpclient's pool keeps the connections and its C parser (llhttp) reads the responses, fed by unbuffered reads:
each read takes what has arrived and is stamped at once. Nothing is decoded here.
"""

from __future__ import annotations

import resource
from time import perf_counter
from typing import Any

import gevent
from gevent import socket
from geventhttpclient.connectionpool import ConnectionPool, SSLConnectionPool
from geventhttpclient.response import HTTPParseError, HTTPResponse

from llm_bench.exchange import Exchange
from llm_bench.target import Target

CONNECT_TIMEOUT = 5.0
READ_SIZE = 8192
MAX_CONNECTIONS = 20_000
"""More than a process can open: an open loop must never wait for a connection to come free."""


class _Response(HTTPResponse):  # type: ignore[misc]  # the library is untyped to mypy
    """Hands body bytes and the end of the headers to an exchange."""

    def __init__(self, exchange: Exchange) -> None:
        super().__init__("POST")
        self.exchange = exchange
        self.now = 0.0

    def _on_headers_complete(self) -> Any:
        self.exchange.headers_at = self.now
        return super()._on_headers_complete()

    def _on_body(self, data: bytearray) -> None:
        self.exchange.chunks.append((self.now, bytes(data)))


class Client:
    """Sends prepared requests to one target over kept-alive connections; any number at once."""

    def __init__(self, target: Target, timeout: float) -> None:
        """`timeout`: longest silence in seconds on a connection. Resolves the host once, here."""
        _raise_file_limit()
        sizes = {"size": MAX_CONNECTIONS, "connection_timeout": CONNECT_TIMEOUT, "network_timeout": timeout}
        names = (target.host, target.port, target.host, target.port)
        self._pool = SSLConnectionPool(*names, **sizes) if target.tls else ConnectionPool(*names, **sizes)
        addresses = socket.getaddrinfo(target.host, target.port, 0, socket.SOCK_STREAM, socket.SOL_TCP)
        self._pool._resolve = lambda: addresses  # else every new connection goes through the resolver's thread pool

    def send(self, request: bytes) -> Exchange:
        """Sends and reads to the end. Never raises for what the target or the network does."""
        exchange = Exchange(sent_at=perf_counter())
        try:
            self._converse(request, exchange)
        except gevent.GreenletExit:
            exchange.failure, exchange.detail = "incomplete", "still running when the run was ended"
        except TimeoutError as error:
            exchange.failure, exchange.detail = exchange.failure or "timeout", str(error)
        except HTTPParseError as error:
            broken_off = exchange.headers_at is not None or "connection closed" in str(error)
            exchange.failure, exchange.detail = ("reset" if broken_off else "protocol"), str(error)
        except OSError as error:
            exchange.failure, exchange.detail = exchange.failure or "reset", str(error)
        exchange.ended_at = perf_counter()
        return exchange

    def close(self) -> None:
        self._pool.close()

    def _converse(self, request: bytes, exchange: Exchange) -> None:
        exchange.failure = "connect"
        sock = self._pool.get_socket()
        exchange.failure = None
        response = _Response(exchange)
        reusable = False
        try:
            sock.sendall(request)
            while not response.message_complete:
                data = sock.recv(READ_SIZE)
                response.now = perf_counter()
                if not data and exchange.headers_at is None:
                    raise HTTPParseError("connection closed before the headers")
                response.feed(data)  # nothing: ends a body without a length, raises for one that is cut short
            reusable = not response.should_close()
        finally:
            if response.headers_complete:
                exchange.status = response.get_code()
                exchange.content_type = str(response.get("content-type") or "")
            if reusable:
                self._pool.return_socket(sock)
            else:
                self._pool.release_socket(sock)


def _raise_file_limit() -> None:
    """As many connections as the system lets us have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_CONNECTIONS if hard == resource.RLIM_INFINITY else min(hard, MAX_CONNECTIONS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
