"""Clients: those that hang up, read slowly, send much, or stay connected; and the headers in both directions."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import aiohttp
import pytest

from llm_contract import headers
from llm_contract.testing import Script, ScriptedEngine
from llm_router.testing import MODEL, RunningEdge

WITHIN_SECONDS = 1.0
CLOSED = {"model": MODEL, "policy": "prefix", "outcome": "client_closed"}


async def ask(client: aiohttp.ClientSession, edge: RunningEdge, **body: Any) -> bytes:
    async with client.post(edge.url + "/v1/completions", json={"model": MODEL, "prompt": "x", **body}) as response:
        return await response.read()


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_hangs_up_before_the_first_byte(client: aiohttp.ClientSession, stream: bool) -> None:
    async with ScriptedEngine() as engine, RunningEdge(engine.url) as edge:
        engine.headers_gate.close()
        task = asyncio.create_task(ask(client, edge, stream=stream))
        await engine.until(lambda: engine.headers_gate.parked == 1)
        task.cancel()
        await engine.until(lambda: len(engine.aborted) == 1, WITHIN_SECONDS)
        await edge.until(lambda: edge.in_flight == 0, WITHIN_SECONDS)
        await edge.until(lambda: edge.sample("router_requests_total", **CLOSED) == 1, WITHIN_SECONDS)
        assert not edge.engines["e0"].ejected


async def test_a_client_that_hangs_up_in_mid_stream(client: aiohttp.ClientSession) -> None:
    async with ScriptedEngine() as engine, RunningEdge(engine.url) as edge:
        engine.chunk_gate.close()
        engine.chunk_gate.release(2)
        body = {"model": MODEL, "prompt": "x", "stream": True}
        async with client.post(edge.url + "/v1/completions", json=body) as response:
            assert b"w0 " in await response.content.readuntil(b"\n\n")
            response.close()
        await engine.until(lambda: len(engine.aborted) == 1, WITHIN_SECONDS)
        await edge.until(lambda: edge.in_flight == 0, WITHIN_SECONDS)


async def test_a_client_that_hangs_up_while_it_waits(client: aiohttp.ClientSession) -> None:
    async with ScriptedEngine() as engine, RunningEdge(engine.url, model={"max_running": 1}) as edge:
        engine.headers_gate.close()
        first = asyncio.create_task(ask(client, edge))
        await engine.until(lambda: len(engine.received) == 1)
        queued = asyncio.create_task(ask(client, edge))
        await edge.until(lambda: edge.waiting == 1)
        queued.cancel()
        await edge.until(lambda: edge.waiting == 0, WITHIN_SECONDS)
        engine.headers_gate.open()
        assert b"w0" in await first
        assert len(engine.received) == 1


async def test_a_slow_reader_holds_up_its_own_stream_only(client: aiohttp.ClientSession) -> None:
    tokens = 200_000
    async with ScriptedEngine(Script(max_model_len=10**6)) as engine, RunningEdge(engine.url) as edge:
        host, port = edge.url.removeprefix("http://").split(":")
        slow = socket.socket()
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(slow, (host, int(port)))
        body = b'{"model": "%s", "prompt": "x", "stream": true, "max_tokens": %d}' % (MODEL.encode(), tokens)
        head = b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body)
        await loop.sock_sendall(slow, head + body)
        await edge.until(lambda: edge.in_flight == 1)
        assert b"w15 " in await ask(client, edge, stream=True)
        assert engine.received[0].chunks_sent < tokens  # the engine had to wait for the slow reader
        received = b""
        while not received.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n"):
            received = received[-64:] + await loop.sock_recv(slow, 1 << 20)
        slow.close()
        assert engine.received[0].finished


async def test_a_body_of_one_mebibyte_arrives_unchanged(client: aiohttp.ClientSession) -> None:
    async with ScriptedEngine(Script(max_model_len=2 * 2**20)) as engine, RunningEdge(engine.url) as edge:
        raw = b'{ "max_tokens":1, "prompt":"%s", "odd": 1.0000000000000000001, "model":"scripted" }' % (b"y" * 2**20)
        async with client.post(edge.url + "/v1/completions", data=raw) as response:
            assert response.status == 200, await response.text()
        assert engine.received[0].raw == raw


async def test_a_body_that_is_too_large_gets_413(client: aiohttp.ClientSession) -> None:
    async with (
        RunningEdge(max_body_bytes=2048) as edge,
        client.post(edge.url + "/v1/completions", data=b"x" * 4096) as response,
    ):
        assert (response.status, (await response.json())["error"]["code"]) == (413, "body_too_large")


async def test_headers_reach_the_engine_and_the_client(client: aiohttp.ClientSession) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    sent = {"authorization": "Bearer k", "traceparent": trace, "x-priority": "batch", "x-request-id": "r1"}
    async with ScriptedEngine() as engine, RunningEdge(engine.url) as edge:
        body = {"model": MODEL, "prompt": "x"}
        async with client.post(edge.url + "/v1/completions", json=body, headers={**sent, "cookie": "c"}) as response:
            assert response.headers[headers.REQUEST_ID] == "r1"
            assert response.headers[headers.ENGINE] == "e0"
            assert float(response.headers[headers.QUEUE_WAIT_MS]) >= 0
        received = engine.received[0].headers
        assert {name: received.get(name) for name in sent} == sent
        assert "cookie" not in received


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("/v1/completions", b"{", 400, "invalid_request"),
        ("/v1/completions", b"[]", 400, "invalid_request"),
        ("/v1/completions", b'{"model": 3}', 400, "invalid_request"),
        ("/v1/completions", b'{"model": "nobody"}', 404, "model_not_found"),
        ("/v1/nothing", b"{}", 404, "not_found"),
    ],
)
async def test_bad_requests(client: aiohttp.ClientSession, path: str, body: bytes, status: int, code: str) -> None:
    async with ScriptedEngine() as engine, RunningEdge(engine.url) as edge:
        async with client.post(edge.url + path, data=body) as response:
            assert (response.status, (await response.json())["error"]["code"]) == (status, code)
        async with client.get(edge.url + "/v1/completions") as response:
            assert response.status == 405
        assert engine.received == []


async def test_other_endpoints_pass(client: aiohttp.ClientSession) -> None:
    async with ScriptedEngine() as engine, RunningEdge(engine.url) as edge:
        async with client.post(edge.url + "/tokenize", json={"model": MODEL, "prompt": "ab"}) as response:
            assert (response.status, (await response.json())["count"]) == (200, 2)
        async with client.get(edge.url + "/version") as response:
            assert await response.json() == {"version": "scripted"}
        async with client.post(edge.url + "/v1/embeddings", json={"model": MODEL, "input": "x"}) as response:
            assert response.status == 404  # the engine's own answer
