from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest

from llm_contract.testing import ScriptedEngine
from llm_gateway.engines import changes as engine_changes
from llm_gateway.engines.changes import moved
from llm_gateway.engines.settings import EngineSettings
from llm_gateway.settings import GatewaySettings
from llm_gateway.testing import RunningGateway


def with_engines(gateway: RunningGateway, *engines: dict[str, Any]) -> GatewaySettings:
    settings = gateway.parts.settings
    return settings.model_copy(update={"engines": tuple(EngineSettings(**one) for one in engines)})


def names(gateway: RunningGateway) -> list[str]:
    return [engine.name for engine in gateway.parts.pool.engines]


async def test_all_engines_replaced_under_load_and_no_request_fails(client: aiohttp.ClientSession) -> None:
    async with (
        ScriptedEngine() as one,
        ScriptedEngine() as two,
        RunningGateway({"url": one.url, "name": "a", "max_in_flight": 2}) as gateway,
    ):
        one.headers_gate.close()
        asked = [asyncio.create_task(_status(client, gateway.url)) for _ in range(8)]
        await gateway.until(lambda one: one.waiting == 6)
        gateway.parts.apply(with_engines(gateway, {"url": two.url, "name": "b", "max_in_flight": 2}))
        await gateway.until(lambda one: names(one) == ["b"])
        await gateway.until(lambda one: one.waiting == 0)
        one.headers_gate.open()
        assert await asyncio.gather(*asked) == [200] * 8


async def test_more_slots_for_an_engine_wake_those_who_wait_and_fail_none(client: aiohttp.ClientSession) -> None:
    async with (
        ScriptedEngine() as engine,
        RunningGateway({"url": engine.url, "name": "a", "max_in_flight": 1}) as gateway,
    ):
        engine.headers_gate.close()
        asked = [asyncio.create_task(_status(client, gateway.url)) for _ in range(5)]
        await gateway.until(lambda one: one.waiting == 4)
        gateway.parts.apply(with_engines(gateway, {"url": engine.url, "name": "a", "max_in_flight": 4}))
        assert gateway.waiting == 0
        engine.headers_gate.open()
        assert await asyncio.gather(*asked) == [200] * 5


async def test_an_engine_of_the_admin_api_stays() -> None:
    async with ScriptedEngine() as engine, RunningGateway({"url": engine.url, "name": "a"}) as gateway:
        gateway.parts.pool.add(EngineSettings(url="http://127.0.0.1:9", name="by-admin"))
        gateway.parts.apply(with_engines(gateway, {"url": engine.url, "name": "a"}, {"url": engine.url, "name": "c"}))
        assert names(gateway) == ["a", "by-admin", "c"]


async def test_old_engines_go_in_the_end_even_if_no_new_one_comes_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_changes, "PATIENCE", 0.02)
    async with ScriptedEngine() as engine, RunningGateway({"url": engine.url, "name": "a"}) as gateway:
        gateway.parts.apply(with_engines(gateway, {"url": "http://127.0.0.1:9", "name": "dead"}))
        assert names(gateway) == ["a", "dead"]
        await gateway.until(lambda one: names(one) == ["dead"])


def test_a_name_stays_with_its_url() -> None:
    old = [EngineSettings(url="http://127.0.0.1:1", name="a"), EngineSettings(url="http://127.0.0.1:2")]
    new = [EngineSettings(url="http://127.0.0.1:3", name="a"), EngineSettings(url="http://127.0.0.1:4")]
    assert moved(old, new) == ["a"]
    assert moved(old, old) == []


async def _status(client: aiohttp.ClientSession, url: str) -> int:
    async with client.post(f"{url}/v1/completions", json={"prompt": "x"}) as response:
        return response.status
