"""Bytes out, time-stamped bytes in: any number of connections to one target, on gevent. Nothing is decoded here."""

from __future__ import annotations

import resource
from time import perf_counter
from typing import Any

import gevent
from gevent import socket
from gevent.ssl import create_default_context

from llm_bench.client.connection import Connection
from llm_bench.client.exchange import Exchange
from llm_bench.client.target import Target

CONNECT_TIMEOUT = 5.0
MAX_CONNECTIONS = 20_000
"""More than a process can open: an open loop must never wait for a free connection."""
SILENCE_LOOKS = 20
"""Checks for silent connections within one timeout; more checks keep it more exactly."""
LONGEST_LOOK = 1.0
"""Most seconds between two checks."""


class Client:
    """Sends prepared requests over kept-alive connections; any number at once."""

    def __init__(self, target: Target, timeout: float) -> None:
        """Resolve the host, once. `timeout`: longest silence on a connection, in seconds."""
        _raise_file_limit()
        self._host, self._timeout = target.host, timeout
        self._addresses = socket.getaddrinfo(target.host, target.port, 0, socket.SOCK_STREAM, socket.SOL_TCP)
        self._tls = create_default_context() if target.tls else None
        self._idle: list[Connection] = []
        self._busy: set[Connection] = set()
        self._watchdog: Any = None

    def send(self, request: bytes) -> Exchange:
        """Send the request and read its answer to the end.

        Failures of the target or the network go into the exchange.
        """
        exchange = Exchange(sent_at=perf_counter())
        connection: Connection | None = None
        try:
            exchange.failure = "connect"
            connection = self._take()
            exchange.failure = None
            self._busy.add(connection)
            connection.converse(request, exchange, self._timeout)
        except gevent.GreenletExit:
            exchange.failure, exchange.detail = "incomplete", "still running when the run was ended"
        except TimeoutError as error:
            exchange.failure, exchange.detail = exchange.failure or "timeout", str(error)
        except OSError as error:
            exchange.failure, exchange.detail = exchange.failure or "reset", str(error)
        exchange.ended_at = perf_counter()
        if connection is not None:
            self._give_back(connection, exchange)
        return exchange

    def close(self) -> None:
        if self._watchdog is not None:
            self._watchdog.kill()
        for connection in (*self._idle, *self._busy):
            connection.close()
        self._idle.clear()

    def _take(self) -> Connection:
        """Return the idle connection that was used last, or a new one."""
        while self._idle:
            connection = self._idle.pop()
            if connection.open:
                return connection
        return Connection(self._connect())

    def _give_back(self, connection: Connection, exchange: Exchange) -> None:
        self._busy.discard(connection)
        if exchange.failure is not None:
            connection.close()
        elif connection.open:
            self._idle.append(connection)

    def _connect(self) -> Any:
        """Return a connected socket, with TLS for https. Raises the OSError of the first address that refused."""
        if self._watchdog is None:
            self._watchdog = gevent.spawn(self._watch_for_silence)
        first: OSError | None = None
        for family, kind, protocol, _, address in self._addresses:
            connecting = socket.socket(family, kind, protocol)
            try:
                connecting.settimeout(CONNECT_TIMEOUT)
                connecting.connect(address)
                connecting.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                return self._tls.wrap_socket(connecting, server_hostname=self._host) if self._tls else connecting
            except OSError as error:
                first = first or error
                connecting.close()
            except BaseException:
                connecting.close()
                raise
        raise first or ConnectionError(f"{self._host} has no address")

    def _watch_for_silence(self) -> None:
        while True:
            gevent.sleep(min(self._timeout / SILENCE_LOOKS, LONGEST_LOOK))
            for connection in filter(self._is_silent, self._busy):
                gevent.get_hub().loop.run_callback(self._give_up, connection)

    def _is_silent(self, connection: Connection) -> bool:
        return perf_counter() - connection.heard_at > self._timeout

    def _give_up(self, connection: Connection) -> None:
        """Fail the connection if it is still silent. The event loop calls this, after it has read what arrived."""
        if self._is_silent(connection):
            connection.fail("timeout", f"nothing arrived for {self._timeout:g} s")


def _raise_file_limit() -> None:
    """Raise the limit of open files to as many connections as the system allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_CONNECTIONS if hard == resource.RLIM_INFINITY else min(hard, MAX_CONNECTIONS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
