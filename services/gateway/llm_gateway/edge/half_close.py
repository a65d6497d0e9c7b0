"""A client that ends its sending side and waits for the answer, told apart from one that is gone.

Both look the same: TCP reports the end of what the client sends. What differs is what comes back to a byte sent now:
nothing, or a reset, which the socket then shows as its error. So the client is sent what it must ignore, an interim
response before its answer's head, or a comment between the events of a stream; then its socket is looked at, often at
first. That finds a client that is gone within some milliseconds and a round trip.
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
"""An event stream's comment as an HTTP chunk."""
BEGIN_SECONDS = 0.002
FIRST_LOOK_SECONDS = 0.005
LONGEST_LOOK_SECONDS = 1.0


Current: TypeAlias = Callable[[], web.BaseRequest | None]
"""Returns the request that is being answered."""


def watch(handler: RequestHandler, current: Current) -> None:
    """End the connection, and with it the request, if the client is gone. It starts a moment later, after parsing."""
    asyncio.get_running_loop().call_later(BEGIN_SECONDS, _probe, handler, current)


def _probe(handler: RequestHandler, current: Current) -> None:
    transport, request = handler.transport, current()
    if transport is None:
        return
    if request is None:
        watch(handler, current)
        return
    if request.version < HttpVersion11 or not request.content.is_eof():
        transport.abort()  # it cannot be sent an interim response, or its body is cut off
        return
    writer = cast(StreamWriter, request.writer)
    if not writer.output_size:
        transport.write(INTERIM)
    elif writer.chunked:  # only streams of events are: whole answers have a length
        transport.write(COMMENT)
    _look(handler, FIRST_LOOK_SECONDS)


def _look(handler: RequestHandler, after: float) -> None:
    """Close the connection if the socket has an error, and look again later."""
    transport = handler.transport
    if transport is None:
        return
    connection = transport.get_extra_info("socket")
    if connection is not None and connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
        transport.abort()
        return
    later = min(2 * after, LONGEST_LOOK_SECONDS)
    asyncio.get_running_loop().call_later(after, _look, handler, later)
