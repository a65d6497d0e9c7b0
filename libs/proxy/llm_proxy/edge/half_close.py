"""Tell a client that has ended its sending side, and waits for its answer, from a client that is gone.

Both look the same at first: TCP reports the end of the client's data. They differ in their reply to a byte sent now:
nothing, or a reset, which the socket then reports as its error. So the service sends bytes that a client must ignore:
an interim response before the answer's head, or a comment between the events of a stream. Then it checks the socket,
often at first. A client that is gone is found within a few milliseconds plus a round trip.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import TypeAlias, cast

from aiohttp import HttpVersion11, web
from aiohttp.http_writer import StreamWriter
from aiohttp.web_protocol import RequestHandler

INTERIM = b"HTTP/1.1 100 Continue\r\n\r\n"
COMMENT = b"3\r\n:\n\n\r\n"
"""A comment of an event stream, as an HTTP chunk."""
BEGIN_SECONDS = 0.002
FIRST_LOOK_SECONDS = 0.005
LONGEST_LOOK_SECONDS = 1.0


Current: TypeAlias = Callable[[], web.BaseRequest | None]
"""Returns the request that is being answered, None between requests."""


def watch(handler: RequestHandler, current: Current) -> None:
    """End the connection and its request if the client is gone. The first probe waits until the request is parsed."""
    asyncio.get_running_loop().call_later(BEGIN_SECONDS, _probe, handler, current)


def _probe(handler: RequestHandler, current: Current) -> None:
    transport, request = handler.transport, current()
    if transport is None:
        return
    if request is None:
        watch(handler, current)
        return
    if request.version < HttpVersion11 or not request.content.is_eof():
        transport.abort()  # it cannot get an interim response, or its body is cut off
        return
    writer = cast(StreamWriter, request.writer)
    if not writer.output_size:
        transport.write(INTERIM)
    elif writer.chunked:  # true for event streams only: whole answers have a length
        transport.write(COMMENT)
    _look(handler, FIRST_LOOK_SECONDS)


def _look(handler: RequestHandler, after: float) -> None:
    """Abort the connection if its socket has an error; otherwise check again later."""
    transport = handler.transport
    if transport is None:
        return
    connection = transport.get_extra_info("socket")
    if connection is not None and connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
        transport.abort()
        return
    later = min(2 * after, LONGEST_LOOK_SECONDS)
    asyncio.get_running_loop().call_later(after, _look, handler, later)
