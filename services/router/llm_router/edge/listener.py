"""A listener that several edges of one host share, and that leaves without breaking a connection.

Edges listen on one port with SO_REUSEPORT, so a new edge starts while the old one still serves. The old one then is a
lame duck: it closes its listener, answers with `Connection: close` and waits until its clients have gone.
"""

from __future__ import annotations

import errno
import socket

from aiohttp import web

from llm_proxy.edge.connections import EdgeRunner
from llm_proxy.edge.connections import EdgeSettings as ConnectionSettings

LAST_WRITES_SECONDS = 1.0
"""Time after the drain for complete answers to reach the wire."""


class PortTaken(OSError):
    """The port belongs to another process. The message says which port."""


class Listener:
    """One application on one port. `share` lets other edges listen on the same port."""

    def __init__(
        self, app: web.Application, host: str, port: int, *, connections: ConnectionSettings, share: bool
    ) -> None:
        self._runner = EdgeRunner(app, connections, shutdown_timeout=LAST_WRITES_SECONDS)
        self._host = host
        self._port = port
        self._share = share
        self._site: web.TCPSite | None = None

    async def start(self) -> None:
        """Listen. Raise PortTaken if that is not possible."""
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, self._port, reuse_port=self._share)
        try:
            await site.start()
        except OSError as error:
            await self._runner.cleanup()
            if error.errno != errno.EADDRINUSE:
                raise
            raise PortTaken(f"{self._host}:{self._port} is in use by another process") from None
        self._site = site

    @property
    def url(self) -> str:
        host, port = self._runner.addresses[0][:2]
        return f"http://{f'[{host}]' if ':' in host else host}:{port}"

    async def stop_listening(self) -> None:
        """Accept no more connections. Open ones go on."""
        if self._site is not None:
            site, self._site = self._site, None
            await site.stop()

    async def close(self) -> None:
        """Close all connections."""
        await self._runner.cleanup()


def check_port(host: str, port: int) -> None:
    """Raise PortTaken if any process listens on the port, even one that shares it."""
    found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, *_, address = found[0]
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise PortTaken(f"{host}:{port} is in use by another process") from None
            raise
