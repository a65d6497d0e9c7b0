"""A stream is read up to where it ends or breaks, and its reader learns when it begins."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from llm_deploy.running.http import stream

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
FIRST, LAST = b"8\r\ndata: 1\n\r\n", b"d\r\ndata: [DONE]\n\r\n0\r\n\r\n"


@contextmanager
def answering(*pieces: bytes) -> Iterator[str]:
    """Send the pieces to one client, whatever it asks, and close the connection."""

    def serve() -> None:
        connection, _ = server.accept()
        with connection:
            connection.recv(65536)
            for piece in pieces:
                connection.sendall(piece)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        thread.join()


def read(*pieces: bytes) -> tuple[str, int]:
    """Return what was streamed, and how often a beginning was told."""
    begun: list[None] = []
    with answering(*pieces) as url:
        text = stream(url, key="k", body={}, on_first=lambda: begun.append(None), timeout=5)
    return text, len(begun)


def test_a_whole_stream() -> None:
    assert read(HEAD, FIRST, LAST) == ("data: 1\ndata: [DONE]\n", 1)


def test_a_stream_that_breaks() -> None:
    assert read(HEAD, FIRST) == ("data: 1\n", 1)


def test_a_refusal() -> None:
    text, begun = read(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")
    assert text == "HTTPError: HTTP Error 503: Service Unavailable"
    assert begun == 0
