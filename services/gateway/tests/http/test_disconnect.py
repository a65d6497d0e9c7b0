"""A client that hangs up: its request is cancelled at the engine at once, gives its slot back, and leaves the queue."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest

from llm_contract.testing import ScriptedEngine
from llm_gateway.testing import RunningGateway

CLOSED = {"class": "standard", "outcome": "client_closed"}
WITHIN_SECONDS = 1.0


async def ask(client: aiohttp.ClientSession, gateway: RunningGateway, **body: Any) -> bytes:
    async with client.post(gateway.url + "/v1/completions", json={"prompt": "x", **body}) as response:
        return await response.read()


@pytest.mark.parametrize("stream", [False, True])
async def test_before_the_first_byte(client: aiohttp.ClientSession, stream: bool) -> None:
    async with ScriptedEngine() as engine, RunningGateway(engine.url) as gateway:
        engine.headers_gate.close()
        task = asyncio.create_task(ask(client, gateway, stream=stream))
        await engine.until(lambda: engine.headers_gate.parked == 1)
        task.cancel()
        await engine.until(lambda: len(engine.aborted) == 1, WITHIN_SECONDS)
        await gateway.until(lambda one: one.in_flight == 0, WITHIN_SECONDS)
        assert gateway.sample("gateway_requests_total", **CLOSED) == 1


async def test_in_mid_stream(client: aiohttp.ClientSession) -> None:
    async with ScriptedEngine() as engine, RunningGateway(engine.url) as gateway:
        engine.chunk_gate.close()
        engine.chunk_gate.release(2)
        body = {"prompt": "x", "stream": True}
        async with client.post(gateway.url + "/v1/completions", json=body) as response:
            assert b"w0 " in await response.content.readuntil(b"\n\n")
            response.close()
        await engine.until(lambda: len(engine.aborted) == 1, WITHIN_SECONDS)
        await gateway.until(lambda one: one.in_flight == 0, WITHIN_SECONDS)
        assert gateway.sample("gateway_requests_total", **CLOSED) == 1


async def test_while_queued(client: aiohttp.ClientSession) -> None:
    async with ScriptedEngine() as engine, RunningGateway({"url": engine.url, "max_in_flight": 1}) as gateway:
        engine.headers_gate.close()
        first = asyncio.create_task(ask(client, gateway))
        await engine.until(lambda: len(engine.received) == 1)
        queued = asyncio.create_task(ask(client, gateway))
        await gateway.until(lambda one: one.waiting == 1)
        queued.cancel()
        await gateway.until(lambda one: one.waiting == 0, WITHIN_SECONDS)
        engine.headers_gate.open()
        assert b"w0" in await first
        assert len(engine.received) == 1
        assert gateway.sample("gateway_requests_total", **CLOSED) == 1
        assert gateway.in_flight == 0


async def test_a_storm_of_disconnects_leaks_no_slot(client: aiohttp.ClientSession) -> None:
    async with ScriptedEngine() as engine, RunningGateway({"url": engine.url, "max_in_flight": 4}) as gateway:
        engine.headers_gate.close()
        tasks = [asyncio.create_task(ask(client, gateway, stream=bool(number % 2))) for number in range(40)]
        await gateway.until(lambda one: one.waiting == 36)
        for task in tasks[::3]:
            task.cancel()
        engine.headers_gate.open()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        assert sum(isinstance(answer, bytes) for answer in answers) == 40 - len(tasks[::3])
        await gateway.until(lambda one: one.in_flight == one.waiting == 0)
