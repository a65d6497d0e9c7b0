"""Kept-alive connections to the engines: idle ones, busy ones, and those that have been silent for too long.

The permits bound the number of connections; the pool has no limit of its own. One timer checks all connections, so a
request needs none. Silence is noticed up to a quarter of its limit late.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import time
from collections.abc import Mapping

from yarl import URL

from llm_proxy.upstream.connection import (
    ConnectFailed,
    Connection,
    ConnectLate,
    Disconnected,
    Response,
    Silent,
    request_head,
)

IDLE_SECONDS = 30.0
"""An idle connection is closed after this time."""
LONGEST_SWEEP_INTERVAL = 1.0
_HOSTNAME_MISMATCH, _IP_MISMATCH = 62, 64
"""OpenSSL's X509_V_ERR_* codes whose messages contain the host."""


class Origin:
    """The address of one engine and its connections."""

    __slots__ = ("busy", "host", "idle", "netloc", "port", "tls")

    def __init__(self, base: URL, tls: ssl.SSLContext | None = None) -> None:
        self.host = base.raw_host or ""
        self.port = base.port or 80
        self.netloc = base.host_port_subcomponent or ""
        self.tls = tls
        self.idle: list[Connection] = []
        """A stack: the connection used last is used next."""
        self.busy: set[Connection] = set()

    def became_idle(self, connection: Connection) -> None:
        self.busy.discard(connection)
        self.idle.append(connection)

    def lost(self, connection: Connection) -> None:
        self.busy.discard(connection)
        if connection in self.idle:
            self.idle.remove(connection)


class HttpClient:
    """All connections. Construct it inside a running event loop. Timeouts are in seconds."""

    def __init__(self, connect_timeout: float, silence_timeout: float) -> None:
        self._connect_timeout = connect_timeout
        self._silence_timeout = silence_timeout
        self._origins: dict[tuple[URL, ssl.SSLContext | None], Origin] = {}
        self._loop = asyncio.get_running_loop()
        self._sweep_interval = min(LONGEST_SWEEP_INTERVAL, silence_timeout / 4)
        self._timer = self._loop.call_later(self._sweep_interval, self._sweep)

    async def send(
        self,
        base: URL,
        method: str,
        path: str,
        headers: Mapping[str, str],
        *,
        body: bytes = b"",
        tls: ssl.SSLContext | None = None,
    ) -> Response:
        """Send a request and return the response once status and headers have arrived. The caller closes it.

        An engine can close an idle connection at the moment it is used. A request that is lost this way, without a byte
        of answer, is sent once more on a new connection. An https:// base needs a `tls` context. Raise HttpError.
        """
        origin = self._origin(base, tls)
        request = request_head(method, path, origin.netloc, headers, body_length=len(body)) + body
        connection = origin.idle.pop() if origin.idle else await self._connect(origin)
        try:
            return await self._exchange(origin, connection, request)
        except Disconnected:
            if not connection.may_have_been_idle_too_long:
                raise
        return await self._exchange(origin, await self._connect(origin), request)

    async def close(self) -> None:
        self._timer.cancel()
        for origin in self._origins.values():
            for connection in [*origin.idle, *origin.busy]:
                connection.abort()

    def open_connections(self) -> int:
        return sum(len(origin.idle) + len(origin.busy) for origin in self._origins.values())

    async def _exchange(self, origin: Origin, connection: Connection, request: bytes) -> Response:
        origin.busy.add(connection)
        response = connection.begin(request)
        try:
            await response.head()
        except BaseException:
            response.close()
            raise
        return response

    async def _connect(self, origin: Origin) -> Connection:
        try:
            async with asyncio.timeout(self._connect_timeout):
                _, connection = await self._loop.create_connection(
                    lambda: Connection(origin.became_idle, origin.lost), origin.host, origin.port, ssl=origin.tls
                )
        except TimeoutError:
            raise ConnectLate(f"no connection within {self._connect_timeout:g} s") from None
        except (OSError, ValueError) as error:
            raise ConnectFailed(_why_not_connected(error)) from error
        return connection

    def _origin(self, base: URL, tls: ssl.SSLContext | None) -> Origin:
        found = self._origins.get((base, tls))
        if found is None:
            found = self._origins[base, tls] = Origin(base, tls)
        return found

    def _sweep(self) -> None:
        now = time.monotonic()
        for origin in self._origins.values():
            for connection in [one for one in origin.busy if one.is_silent(now - self._silence_timeout)]:
                connection.abort(Silent("no answer in time"))
            for connection in [one for one in origin.idle if now - one.heard > IDLE_SECONDS]:
                connection.abort()
        self._timer = self._loop.call_later(self._sweep_interval, self._sweep)


def _why_not_connected(error: OSError | ValueError) -> str:
    """Return a reason without the address, as clients can see it. A resolver's codec raises ValueError."""
    if isinstance(error, ssl.SSLCertVerificationError):
        mismatch = error.verify_code in (_HOSTNAME_MISMATCH, _IP_MISMATCH)
        return f"its certificate is not accepted: {'name mismatch' if mismatch else error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {error.reason or 'no handshake'}"
    if isinstance(error, socket.gaierror | ValueError):
        return "its host name does not resolve"
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    return f"cannot connect: {os.strerror(error.errno) if error.errno else type(error).__name__}"
