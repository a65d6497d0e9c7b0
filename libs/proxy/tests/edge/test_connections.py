"""Raw sockets against a tiny application behind the edge, while a healthy client is served."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from llm_contract.errors import ApiError
from llm_proxy.edge.connections import EdgeRunner, EdgeSettings
from llm_proxy.edge.responses import error_response
from llm_proxy.request import body

HEAD = b"POST / HTTP/1.1\r\nHost: x\r\n"
ANSWERS_WITHIN = 5.0
"""Seconds; all timeouts under test are far below."""


@dataclass
class Raw:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        with suppress(ConnectionResetError):
            await self.writer.drain()

    async def answer(self) -> tuple[int, Any]:
        """Return status and body of the only response before the connection closes, by a reset if data is unread."""
        async with asyncio.timeout(ANSWERS_WITHIN):
            head = (await self.reader.readuntil(b"\r\n\r\n")).lower()
            length = int(head.partition(b"content-length:")[2].split()[0])
            payload = await self.reader.readexactly(length)
            with suppress(ConnectionResetError):
                assert await self.reader.read() == b""
        return int(head.split()[1]), json.loads(payload)


@asynccontextmanager
async def connection(port: int) -> AsyncIterator[Raw]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield Raw(reader, writer)
    finally:
        writer.close()


STOPPED = web.AppKey("stopped", asyncio.Event)


@asynccontextmanager
async def serving(stopped: asyncio.Event | None = None, **limits: Any) -> AsyncIterator[int]:
    """Yield the port. POST / answers with the length of the body; GET /flood sends without end."""
    settings = EdgeSettings(**{"header_timeout": 0.1, "body_timeout": 0.1, "send_timeout": 0.1, **limits})

    async def length(request: web.Request) -> web.StreamResponse:
        try:
            return web.json_response(len(await body.read(request, 1_000_000, settings.body_timeout)))
        except ApiError as error:
            return error_response(error)

    async def flood(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(b"x" * 65536)
        except (asyncio.CancelledError, ConnectionError):
            request.app[STOPPED].set()
            raise

    app = web.Application()
    app[STOPPED] = stopped if stopped is not None else asyncio.Event()
    app.router.add_post("/", length)
    app.router.add_get("/flood", flood)
    runner = EdgeRunner(app, settings, shutdown_timeout=0.01)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


async def is_healthy(port: int) -> None:
    async with aiohttp.ClientSession() as client, client.post(f"http://127.0.0.1:{port}/", data=b"12345") as response:
        assert (response.status, await response.json()) == (200, 5)


@pytest.mark.parametrize(
    ("sent", "status", "code", "says"),
    [
        (HEAD + b"X-Long: " + b"x" * 9000 + b"\r\n\r\n", 431, "headers_too_large", "longer than 8190 bytes"),
        (b"POST /" + b"x" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 431, "headers_too_large", "longer than 8190 bytes"),
        (
            HEAD + b"".join(b"X-%d: 1\r\n" % number for number in range(101)) + b"\r\n",
            431,
            "headers_too_large",
            "more than 100 headers",
        ),
        (b"not HTTP at all\r\n\r\n", 400, "invalid_request", "not a valid HTTP request"),
        (b"POST / HTTP/1.1\r\nBad Header: sk-secret\r\n\r\n", 400, "invalid_request", "not a valid HTTP request"),
        (HEAD + b"Content-Length: x\r\n\r\n", 400, "invalid_request", "not a valid HTTP request"),
        (b"\x16\x03\x01\x02\x00", 400, "invalid_request", "not a valid HTTP request"),
    ],
)
async def test_what_is_no_request_gets_an_error_object(
    sent: bytes, status: int, code: str, says: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving() as port, connection(port) as raw:
        await raw.send(sent)
        found, answer = await raw.answer()
        assert (found, answer["error"]["code"]) == (status, code)
        assert says in answer["error"]["message"]
        await is_healthy(port)
    assert "sk-secret" not in caplog.text


async def test_headers_up_to_the_limits_are_taken() -> None:
    many = b"".join(b"X-%d: 1\r\n" % number for number in range(90))
    async with serving() as port, connection(port) as raw:
        await raw.send(HEAD + many + b"X-Long: " + b"x" * 8000 + b"\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
        assert await raw.answer() == (200, 0)


async def test_headers_that_trickle_in_are_cut_off_while_others_are_served() -> None:
    async with serving() as port, connection(port) as raw:
        trickling = asyncio.create_task(_trickle(raw, b"POST / HTTP/1.1\r\nHost: x\r\n", b"X-More: 1\r\n"))
        await is_healthy(port)
        status, answer = await raw.answer()
        assert (status, answer["error"]["code"]) == (408, "request_timeout")
        assert "the headers did not arrive within 0.1 s" in answer["error"]["message"]
        trickling.cancel()
        await is_healthy(port)


async def test_slow_headers_on_a_connection_that_was_used_before_are_cut_off_too() -> None:
    async with serving() as port, connection(port) as raw:
        await raw.send(HEAD + b"Content-Length: 3\r\n\r\nabc")
        assert await raw.reader.readuntil(b"\r\n\r\n3")
        await raw.send(b"POST / HT")
        assert (await raw.answer())[0] == 408


async def test_a_body_that_trickles_in_gets_408_while_others_are_served() -> None:
    async with serving() as port, connection(port) as raw:
        head = HEAD + b"Content-Length: 100000\r\n\r\n"
        trickling = asyncio.create_task(_trickle(raw, head, b"x"))
        await is_healthy(port)
        status, answer = await raw.answer()
        assert (status, answer["error"]["code"]) == (408, "request_timeout")
        assert "the body did not arrive within 0.1 s" in answer["error"]["message"]
        trickling.cancel()
        await is_healthy(port)


async def test_a_body_longer_under_way_than_the_header_timeout_is_no_slow_header() -> None:
    async with serving(header_timeout=0.05, body_timeout=3.0) as port, connection(port) as raw:
        await raw.send(HEAD + b"Connection: close\r\nContent-Length: 3\r\n\r\na")
        await asyncio.sleep(0.2)
        await raw.send(b"bc")
        assert await raw.answer() == (200, 3)


@pytest.mark.parametrize(
    "sent",
    [
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n",
        HEAD + b"Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\nabcd",
    ],
)
async def test_a_body_that_is_not_encoded_as_it_says_is_400(sent: bytes) -> None:
    async with serving() as port, connection(port) as raw:
        await raw.send(sent)
        status, answer = await raw.answer()
        assert (status, answer["error"]["code"]) == (400, "invalid_request")
        await is_healthy(port)


async def test_a_client_that_stops_reading_is_dropped_and_its_handler_ends() -> None:
    stopped = asyncio.Event()
    async with serving(stopped) as port, connection(port) as raw:
        await raw.send(b"GET /flood HTTP/1.1\r\nHost: x\r\n\r\n")
        async with asyncio.timeout(ANSWERS_WITHIN):
            await stopped.wait()
        await is_healthy(port)


async def test_an_idle_connection_is_closed() -> None:
    async with serving(keepalive_timeout=0.1) as port, connection(port) as raw:
        async with asyncio.timeout(ANSWERS_WITHIN):
            assert await raw.reader.read() == b""


async def test_one_connection_too_many_is_told_so_and_a_place_that_is_free_again_is_given() -> None:
    async with serving(max_connections=1) as port:
        async with connection(port) as first:
            await first.send(HEAD + b"Content-Length: 3\r\n\r\nabc")
            assert await first.reader.readuntil(b"\r\n\r\n3")
            async with connection(port) as second:
                status, answer = await second.answer()
                assert (status, answer["error"]["code"]) == (503, "too_many_connections")
        async with asyncio.timeout(ANSWERS_WITHIN):
            while not await _served(port):
                pass


async def _served(port: int) -> bool:
    async with connection(port) as raw:
        await raw.send(HEAD + b"Connection: close\r\nContent-Length: 0\r\n\r\n")
        return (await raw.answer())[0] == 200


async def _trickle(raw: Raw, head: bytes, more: bytes) -> None:
    await raw.send(head)
    while True:
        await asyncio.sleep(0.01)
        await raw.send(more)
