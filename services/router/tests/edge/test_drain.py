"""The end of an edge: it leaves as a lame duck while another edge takes its place on the same port."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from llm_contract.testing import ScriptedEngine
from llm_router.edge import server
from llm_router.testing import MODEL, RunningEdge

BODY = {"model": MODEL, "prompt": "x", "max_tokens": 4}


@pytest.fixture(autouse=True)
def short_drain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "LAME_DUCK_SECONDS", 0.2)


async def test_a_lame_duck_finishes_its_requests_and_sends_its_clients_away() -> None:
    async with ScriptedEngine() as engine, RunningEdge(engine.url) as old, aiohttp.ClientSession() as client:
        engine.chunk_gate.close()
        streamed = asyncio.create_task(_stream(old, client))
        await old.until(lambda: old.in_flight == 1)
        async with client.get(old.url + "/ready") as response:
            assert response.status == 200  # its connection stays open
        async with RunningEdge(engine.url, port=int(old.url.rsplit(":", 1)[1])) as new:
            draining = asyncio.create_task(old.server.drain())
            await old.until(lambda: old.server.draining)
            async with client.get(new.url + "/ready") as response:
                assert (response.status, response.headers["connection"]) == (503, "close")
            async with client.get(new.url + "/ready") as response:
                assert response.status == 200  # a new connection goes to the new edge
            engine.chunk_gate.open()
            assert (await streamed).endswith(b"data: [DONE]\n\n")
            await draining


async def _stream(edge: RunningEdge, client: aiohttp.ClientSession) -> bytes:
    async with client.post(edge.url + "/v1/completions", json={**BODY, "stream": True}) as response:
        return await response.read()


async def test_answers_of_a_lame_duck_close_their_connection() -> None:
    async with ScriptedEngine() as engine, RunningEdge(engine.url) as edge, aiohttp.ClientSession() as client:
        edge.server.proxy.lame_duck = True
        for body in (BODY, {**BODY, "stream": True}, {**BODY, "model": "nobody"}):
            async with client.post(edge.url + "/v1/completions", json=body) as response:
                assert response.headers["connection"] == "close"


async def test_requests_have_the_drain_timeout_and_no_longer() -> None:
    async with (
        ScriptedEngine() as engine,
        RunningEdge(engine.url, edge_drain_timeout=0.3) as edge,
        aiohttp.ClientSession() as client,
    ):
        engine.headers_gate.close()
        task = asyncio.create_task(client.post(edge.url + "/v1/completions", json=BODY))
        await edge.until(lambda: edge.in_flight == 1)
        await edge.server.drain()
        with pytest.raises(aiohttp.ClientError):
            await task
        await engine.until(lambda: len(engine.aborted) == 1)
