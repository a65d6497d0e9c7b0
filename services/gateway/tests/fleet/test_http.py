"""Whole gateways in a fleet: one order and one set of limits over HTTP, with Redis up, down, and up again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import aiohttp
import pytest

from llm_contract.testing import Script, ScriptedEngine
from llm_gateway.fleet.testing import RedisServer
from llm_gateway.tenancy.keys import key_hash
from llm_gateway.testing import RunningGateway


@pytest.fixture
async def redis() -> AsyncIterator[RedisServer]:
    async with RedisServer() as server:
        yield server


@asynccontextmanager
async def fleet(redis: RedisServer, count: int, *engines: Any, **settings: Any) -> AsyncIterator[list[RunningGateway]]:
    shared = {"fleet": {"redis_url": redis.url, "lease": 0.5}, **settings}
    async with AsyncExitStack() as stack:
        gateways = [await stack.enter_async_context(RunningGateway(*engines, **shared)) for _ in range(count)]
        for gateway in gateways:
            await gateway.until(lambda one: one.parts.fleet.online and one.parts.fleet.replicas == count)
        yield gateways


async def post(client: aiohttp.ClientSession, gateway: RunningGateway, cls: str = "standard", **headers: str) -> int:
    body = {"prompt": cls, "max_tokens": 1}
    sent = {"x-priority": cls, **headers}
    async with client.post(gateway.url + "/v1/completions", json=body, headers=sent) as response:
        await response.read()
        return response.status


async def test_the_most_urgent_request_of_all_gateways_goes_first(
    client: aiohttp.ClientSession, redis: RedisServer
) -> None:
    async with (
        ScriptedEngine() as engine,
        fleet(redis, 3, {"url": engine.url, "max_in_flight": 1}) as gateways,
    ):
        engine.headers_gate.close()
        tasks = [asyncio.create_task(post(client, gateways[0], "batch"))]
        await engine.until(lambda: len(engine.received) == 1)
        for gateway, cls in zip(gateways, ("batch", "standard", "interactive"), strict=True):
            tasks.append(asyncio.create_task(post(client, gateway, cls)))
            await gateway.until(lambda one: one.waiting == 1)
        engine.headers_gate.open()
        assert await asyncio.wait_for(asyncio.gather(*tasks), 10) == [200] * 4
        assert [one.body["prompt"] for one in engine.received] == ["batch", "interactive", "standard", "batch"]


async def test_an_engines_limit_holds_over_all_gateways(client: aiohttp.ClientSession, redis: RedisServer) -> None:
    async with (
        ScriptedEngine() as engine,
        fleet(redis, 3, {"url": engine.url, "max_in_flight": 4}) as gateways,
    ):
        engine.headers_gate.close()
        tasks = [asyncio.create_task(post(client, gateway)) for gateway in gateways for _ in range(4)]
        await gateways[0].until(lambda _: sum(one.waiting + one.in_flight for one in gateways) == 12)
        await engine.until(lambda: len(engine.received) == 4)
        assert sum(one.in_flight for one in gateways) == 4
        assert sum(one.waiting for one in gateways) == 8
        engine.headers_gate.open()
        assert await asyncio.wait_for(asyncio.gather(*tasks), 10) == [200] * 12


async def test_no_request_fails_while_redis_is_gone_and_after(
    client: aiohttp.ClientSession, redis: RedisServer
) -> None:
    async with ScriptedEngine() as engine, fleet(redis, 2, {"url": engine.url, "max_in_flight": 4}) as gateways:
        statuses: list[int] = []
        stop = asyncio.Event()

        async def load(gateway: RunningGateway) -> None:
            while not stop.is_set():
                statuses.append(await post(client, gateway))

        tasks = [asyncio.create_task(load(gateway)) for gateway in gateways for _ in range(4)]
        await gateways[0].until(lambda _: len(statuses) > 50)
        await redis.kill()
        for gateway in gateways:
            await gateway.until(lambda one: one.sample("gateway_fleet_degraded") == 1)
        seen = len(statuses)
        await gateways[0].until(lambda _: len(statuses) > seen + 50)
        await redis.start()
        for gateway in gateways:
            await gateway.until(lambda one: one.parts.fleet.online)
        seen = len(statuses)
        await gateways[0].until(lambda _: len(statuses) > seen + 50)
        stop.set()
        await asyncio.wait_for(asyncio.gather(*tasks), 10)
        assert set(statuses) == {200}
        assert [one.in_flight for one in gateways] == [0, 0]


async def test_a_tenants_limit_holds_over_all_gateways(client: aiohttp.ClientSession, redis: RedisServer) -> None:
    tenants = [{"name": "t", "keys": [key_hash("sk-t")], "rpm": 5}]
    async with ScriptedEngine() as engine, fleet(redis, 2, engine.url, tenants=tenants) as gateways:
        keyed = {"authorization": "Bearer sk-t"}
        statuses = [await post(client, gateways[index % 2], **keyed) for index in range(8)]
        assert statuses == [200] * 5 + [429] * 3


async def test_engines_with_different_models_serve_a_fleet_and_a_busy_one_holds_up_no_other(
    client: aiohttp.ClientSession, redis: RedisServer
) -> None:
    async def ask(gateway: RunningGateway, model: str) -> int:
        async with client.post(gateway.url + "/v1/completions", json={"prompt": "x", "model": model}) as response:
            await response.read()
            return response.status

    async with (
        ScriptedEngine(Script(model="llama")) as llama,
        ScriptedEngine(Script(model="qwen")) as qwen,
        fleet(redis, 2, {"url": llama.url, "max_in_flight": 1}, {"url": qwen.url, "max_in_flight": 1}) as gateways,
    ):
        llama.headers_gate.close()
        busy = [asyncio.create_task(ask(gateway, "llama")) for gateway in gateways for _ in range(2)]
        await llama.until(lambda: len(llama.received) == 1)
        assert await asyncio.wait_for(asyncio.gather(*(ask(one, "qwen") for one in gateways * 3)), 10) == [200] * 6
        llama.headers_gate.open()
        assert await asyncio.wait_for(asyncio.gather(*busy), 10) == [200] * 4
        assert {one.body["model"] for one in llama.received} == {"llama"}
        assert {one.body["model"] for one in qwen.received} == {"qwen"}
