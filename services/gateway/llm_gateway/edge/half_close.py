"""A client that ends its sending side and waits for the answer, told apart from one that is gone.

Both look the same: TCP reports the end of what the client sends. What differs is what comes back to a byte sent now:
nothing, or a reset, which the socket then shows as its error. So the client is sent what it must ignore, an interim
response before its answer's head, or a comment between the events of a stream; then its socket is looked at, often at
first. That finds a client that is gone within some milliseconds and a round trip.
"""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, cast

from aiohttp import HttpVersion11
from aiohttp.http_writer import StreamWriter

if TYPE_CHECKING:
    from llm_gateway.edge.connections import EdgeHandler

INTERIM = b"HTTP/1.1 100 Continue\r\n\r\n"
COMMENT = b"3\r\n:\n\n\r\n"
"""An event stream's comment as an HTTP chunk."""
BEGIN_SECONDS = 0.002
FIRST_LOOK_SECONDS = 0.005
LONGEST_LOOK_SECONDS = 1.0


def watch(handler: EdgeHandler) -> None:
    """Ends the connection, and with it the request, if the client is gone. A moment later: it may not be parsed yet."""
    asyncio.get_running_loop().call_later(BEGIN_SECONDS, _probe, handler)


def _probe(handler: EdgeHandler) -> None:
    transport, request = handler.transport, handler.current_request
    if transport is None:
        return
    if request is None:
        watch(handler)
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


def _look(handler: EdgeHandler, after: float) -> None:
    """Whole answers that are under way need no probe: writing them shows whether the client is there."""
    transport = handler.transport
    if transport is None:
        return
    connection = transport.get_extra_info("socket")
    if connection is not None and connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
        transport.abort()
        return
    later = min(2 * after, LONGEST_LOOK_SECONDS)
    asyncio.get_running_loop().call_later(after, _look, handler, later)
