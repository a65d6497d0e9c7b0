"""Ejection for lack of progress, and recovery: the rules on a fake clock, then a gateway with an engine that stalls."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from llm_contract.testing import ScriptedEngine
from llm_gateway.classes import DEFAULT_CLASSES
from llm_gateway.engines import Engine, EnginePool
from llm_gateway.engines.engine import FAILURES_TO_DOWN
from llm_gateway.engines.settings import EngineSettings
from llm_gateway.proxy.proxy import Proxy
from llm_gateway.testing import RunningGateway
from llm_gateway.waiting import Waiting
from llm_gateway.watch.progress import ProgressWatch
from llm_proxy.upstream.signals import Signals

STANDARD = DEFAULT_CLASSES[1]


class World:
    """One engine that is up and reports metrics, and a watch that ejects after 30 s."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.pool = EnginePool([EngineSettings(url="http://e", name="e")], clock=lambda: self.now)
        self.engine = self.pool.engines[0]
        self.pool.mark_up(self.engine)
        self.ejected: list[str] = []
        self.watch = ProgressWatch(
            self.pool, 30.0, lambda: self.now, on_eject=lambda engine: self.ejected.append(engine.reason)
        )
        self.scrape(0)

    def scrape(self, tokens: float) -> None:
        self.pool.observe(self.engine, Signals(time=self.now, running=1, waiting=0, generation_tokens=tokens))

    def take(self) -> None:
        self.permit = self.pool.take(Waiting(STANDARD, 0.0))
        assert self.permit is not None

    def after(self, seconds: float) -> list[str]:
        self.now += seconds
        self.watch.check(self.engine)
        return self.ejected


def test_an_engine_with_a_request_and_no_token_is_ejected_once() -> None:
    world = World()
    world.take()
    assert world.after(30.0) == []
    assert world.after(1.0) == ["no progress for 31 s"]
    assert world.after(60.0) == ["no progress for 31 s"]
    assert not world.engine.up
    assert world.pool.why_down() == "e: no progress for 31 s"
    assert world.engine.ejections == 1


def test_an_idle_engine_may_be_silent_and_its_first_request_starts_the_time() -> None:
    world = World()
    assert world.after(1000.0) == []
    world.take()
    assert world.after(30.0) == []


def test_bytes_and_the_engines_own_counters_are_progress() -> None:
    world = World()
    world.take()
    world.after(25.0)
    world.engine.progressed(world.now)
    assert world.after(25.0) == []
    world.scrape(5)
    assert world.after(25.0) == []
    world.scrape(5)
    assert world.after(25.0) == ["no progress for 50 s"]


def test_without_metrics_only_streams_are_expected_to_show_progress() -> None:
    world = World()
    world.pool.observe(world.engine, None)
    world.take()
    assert world.after(100.0) == []
    assert world.permit is not None
    world.permit.started_stream()
    assert world.after(1.0) == ["no progress for 101 s"]
    world.permit.release()
    assert world.engine.streams == 0


def test_an_engine_that_is_down_and_silent_lets_its_requests_go() -> None:
    world = World()
    world.take()
    world.pool.observe(world.engine, None)
    world.pool.mark_down(world.engine, "/health: no answer in time")
    assert world.after(100.0) == [], "one late probe is no evidence"
    world.engine.failed_probes = FAILURES_TO_DOWN
    assert world.after(1.0) == ["no progress for 101 s"]


async def test_a_removed_engine_that_hangs_is_watched_until_it_is_gone() -> None:
    world = World()
    world.take()
    drained = world.pool.remove("e")
    assert world.pool.watched() == [world.engine]
    assert world.after(31.0) == ["no progress for 31 s"]
    assert world.permit is not None
    world.permit.release()
    await drained
    assert world.pool.watched() == []


def test_a_return_starts_the_time_anew() -> None:
    world = World()
    world.take()
    world.after(31.0)
    world.pool.mark_up(world.engine)
    assert world.after(30.0) == ["no progress for 31 s"]
    assert len(world.after(1.0)) == 2


async def test_a_timeout_of_0_turns_it_off() -> None:
    watch = ProgressWatch(EnginePool([]), 0.0, lambda: 0.0, on_eject=lambda engine: None)
    await watch.start()
    assert watch._loop._task is None
    await watch.stop()


@pytest.mark.parametrize("streamed", [False, True])
async def test_an_engine_that_stalls_is_ejected_though_it_is_healthy_and_back_once_it_makes_tokens(
    client: aiohttp.ClientSession, streamed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    ejected: list[Engine] = []
    monkeypatch.setattr(Proxy, "fail_over", ejected.append)
    async with (
        ScriptedEngine() as engine,
        RunningGateway(engine.url, progress_timeout=0.2, signals_interval=0.02) as gateway,
    ):
        engine.headers_gate.close()

        async def ask() -> int:
            body = {"prompt": "x", "stream": streamed}
            async with client.post(gateway.url + "/v1/completions", json=body) as response:
                await response.read()
                return response.status

        task = asyncio.create_task(ask())
        await gateway.until(lambda one: not one.parts.pool.any_up())
        only = gateway.parts.pool.engines[0]
        assert ejected == [only]
        assert only.reason.startswith("no progress for")
        await engine.until(lambda: len(engine.received) >= 2)
        assert engine.received[1].body["max_tokens"] == 1, "the canary"
        assert only.ejected, "it waits at the gate like the rest"
        engine.headers_gate.open()
        assert await task == 200
        await gateway.until(lambda one: one.parts.pool.any_up())
        assert (only.ejected, only.ejections) == (False, 1)


async def test_an_ejected_engine_whose_counters_move_needs_no_canary(client: aiohttp.ClientSession) -> None:
    async with ScriptedEngine() as engine, RunningGateway(engine.url, signals_interval=60.0) as gateway:
        only = gateway.parts.pool.engines[0]
        gateway.parts.pool.observe(only, Signals(time=0.0, running=0, waiting=0, generation_tokens=0))
        async with client.post(engine.url + "/v1/completions", json={"prompt": "x", "max_tokens": 2}) as response:
            assert response.status == 200
        gateway.parts.pool.eject(only, "no progress")
        await gateway.until(lambda one: one.parts.pool.any_up())
        assert len(engine.received) == 1


@pytest.mark.parametrize("answer", [(500, {"error": {}}), (404, {"error": {}})])
async def test_a_canary_that_fails_leaves_it_out(answer: tuple[int, dict[str, object]]) -> None:
    async with ScriptedEngine() as engine, RunningGateway(engine.url) as gateway:
        engine.answer = answer
        only = gateway.parts.pool.engines[0]
        gateway.parts.pool.eject(only, "no progress")
        await engine.until(lambda: len(engine.received) >= 3)
        assert only.ejected
        engine.answer = None
        await gateway.until(lambda one: one.parts.pool.any_up())
