"""A response in one write, as a client sees it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web

from llm_proxy.edge.connections import EdgeRunner, EdgeSettings
from llm_proxy.edge.responses import WholeResponse

BIG = b"x" * 4_000_000


async def _answer(request: web.Request) -> web.StreamResponse:
    body = BIG if request.path == "/big" else await request.read()
    response = WholeResponse(body, status=404 if request.path == "/no" else 200, fields={"content-type": "text/plain"})
    if request.path == "/last":
        response.force_close()
    return response


async def _vary(_: web.Request, response: web.StreamResponse) -> None:
    response.headers["vary"] = "origin"


@pytest.fixture
async def port() -> AsyncIterator[int]:
    app = web.Application()
    app.router.add_post("/{path}", _answer)
    app.on_response_prepare.append(_vary)
    runner = EdgeRunner(app, EdgeSettings(), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield runner.addresses[0][1]
    await runner.cleanup()


async def test_what_a_signal_adds_is_sent(port: int) -> None:
    async with aiohttp.ClientSession() as client, client.post(f"http://127.0.0.1:{port}/yes") as response:
        assert (response.headers["vary"], response.headers["content-type"]) == ("origin", "text/plain")


async def test_clients_reuse_the_connection(port: int) -> None:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1)) as client:
        for path, status, body in (("yes", 200, b"a"), ("no", 404, b""), ("big", 200, BIG), ("yes", 200, b"b")):
            async with client.post(f"http://127.0.0.1:{port}/{path}", data=body if path != "big" else b"") as response:
                assert (response.status, response.content_type) == (status, "text/plain")
                assert "date" in response.headers
                assert "connection" not in response.headers
                assert await response.read() == body
        async with client.post(f"http://127.0.0.1:{port}/last", data=b"c") as response:
            assert (response.headers["connection"], await response.read()) == ("close", b"c")


@pytest.mark.parametrize(
    ("request_head", "says"),
    [
        (b"HTTP/1.0\r\n", None),
        (b"HTTP/1.0\r\nconnection: keep-alive\r\n", b"connection: keep-alive"),
        (b"HTTP/1.1\r\nhost: x\r\nconnection: close\r\n", b"connection: close"),
        (b"HTTP/1.1\r\nhost: x\r\n", None),
    ],
)
async def test_the_connection_header_follows_the_request(port: int, request_head: bytes, says: bytes | None) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"POST /yes " + request_head + b"content-length: 1\r\n\r\nx")
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert [line for line in head.split(b"\r\n") if line.startswith(b"connection")] == ([says] if says else [])
    assert await reader.readexactly(1) == b"x"
    writer.close()
