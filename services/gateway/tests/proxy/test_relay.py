from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

import aiohttp
import pytest

from llm_contract.testing import ScriptedEngine
from llm_gateway.testing import RunningGateway
from llm_proxy.upstream.connection import Response, Sink


async def test_a_stream_goes_from_callback_to_callback_without_a_task(
    client: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The handler's task reads only the first chunk. All others are written where they are parsed."""
    piped: list[bytes] = []
    pipe = Response.pipe

    async def noting_pipe(response: Response, sink: Sink) -> None:
        await pipe(response, lambda part: (piped.append(part), sink(part))[1])

    monkeypatch.setattr(Response, "pipe", noting_pipe)
    async with ScriptedEngine() as engine, RunningGateway(engine.url) as gateway:
        engine.chunk_gate.close()
        engine.chunk_gate.release(1)
        body = {"prompt": "x", "stream": True, "max_tokens": 4}
        async with client.post(gateway.url + "/v1/completions", json=body) as response:
            for _ in range(4):
                assert (await response.content.readuntil(b"\n\n")).startswith(b"data: {")
                engine.chunk_gate.release(1)
            assert await response.content.read() == b"data: [DONE]\n\n"
    assert sum(part.startswith(b"data: {") for part in piped) >= 2
    assert b"".join(piped).endswith(b"data: [DONE]\n\n")


async def test_a_client_of_http_1_0_gets_its_stream_without_chunks() -> None:
    async with ScriptedEngine() as engine, RunningGateway(engine.url) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(gateway.url).port)
        body = b'{"prompt": "x", "stream": true, "max_tokens": 2}'
        writer.write(b"POST /v1/completions HTTP/1.0\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
        head, _, answer = (await asyncio.wait_for(reader.read(), 10)).partition(b"\r\n\r\n")
        writer.close()
    assert b"200" in head.splitlines()[0]
    assert b"chunked" not in head
    assert answer.startswith(b"data: {")
    assert answer.endswith(b"data: [DONE]\n\n")
