"""The watch over engines: one turn at a time, on a fake clock."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import NoReturn

import pytest

from llm_contract.errors import ErrorKind
from llm_contract.testing import Script, ScriptedEngine
from llm_proxy.upstream.client import EngineError, Upstream
from llm_proxy.upstream.connection import ConnectLate
from llm_router.fleet import Engine, Fleet
from llm_router.fleet.watch import FAILURES_TO_EJECT, FleetWatch, WatchSettings
from llm_router.settings import ModelSettings
from llm_router.testing import MODEL, info


class World:
    """One scripted engine in a fleet, watched."""

    def __init__(self, engine: ScriptedEngine, upstream: Upstream) -> None:
        self.now = 1000.0
        self.scripted = engine
        self.fleet = Fleet(clock=lambda: self.now)
        self.fleet.set_models([ModelSettings(name=MODEL, progress_timeout=30)])
        self.fleet.set_engines("test", [info("e0", url=engine.url)])
        self.watch = FleetWatch(self.fleet, upstream, WatchSettings(), clock=lambda: self.now)

    @property
    def engine(self) -> Engine:
        return self.fleet.engines(MODEL)[0]

    def after(self, seconds: float) -> bool:
        """Return whether the engine is ejected after a check `seconds` later."""
        self.now += seconds
        self.watch.check(self.engine)
        return self.engine.ejected


@pytest.fixture
async def world() -> AsyncIterator[World]:
    upstream = Upstream(1.0, 10.0)
    async with ScriptedEngine(Script(kv_tokens=1600)) as engine:
        yield World(engine, upstream)
    await upstream.close()


async def test_a_scrape_reads_load_and_capacity(world: World) -> None:
    await world.watch.scrape(world.engine)
    assert world.engine.reports
    assert world.engine.signals is not None
    assert (world.engine.signals.kv_tokens, world.engine.load) == (1600, 0)


async def test_a_dead_engine_is_ejected_by_the_first_scrape_and_returns_with_a_probe(world: World) -> None:
    await world.scripted.stop()
    await world.watch.scrape(world.engine)
    assert (world.engine.ejected, world.engine.reason) == (True, "connection refused")
    await world.watch.probe(world.engine)
    assert world.engine.ejected
    await world.scripted.start()
    await world.watch.probe(world.engine)
    assert not world.engine.ejected


async def test_an_engine_that_accepts_late_is_ejected_by_its_probes_only(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its queue of connections is full: it is busy, or stopped."""

    async def late(*_: object, **__: object) -> NoReturn:
        raise EngineError(
            world.engine, "connect", ErrorKind.ENGINE_UNAVAILABLE, "late", retryable=True
        ) from ConnectLate()

    monkeypatch.setattr(world.watch._upstream, "fetch", late)
    monkeypatch.setattr(world.watch._upstream, "health", late)
    await world.watch.scrape(world.engine)
    for _ in range(FAILURES_TO_EJECT):
        assert not world.engine.ejected
        await world.watch.probe(world.engine)
    assert world.engine.ejected


async def test_bad_health_ejects_after_some_probes_in_a_row(world: World) -> None:
    world.scripted.healthy = False
    for _ in range(FAILURES_TO_EJECT):
        assert not world.engine.ejected
        await world.watch.probe(world.engine)
    assert world.engine.ejected
    world.scripted.healthy = True
    await world.watch.probe(world.engine)
    assert (world.engine.ejected, world.engine.failed_probes) == (False, 0)


async def test_an_engine_with_a_request_and_no_token_is_wedged(world: World) -> None:
    await world.watch.scrape(world.engine)
    assert not world.after(1000)
    world.fleet.take(world.engine)
    assert not world.after(30)
    assert world.after(1)
    assert world.engine.wedged


async def test_bytes_are_progress(world: World) -> None:
    await world.watch.scrape(world.engine)
    world.fleet.take(world.engine)
    world.now += 29
    world.engine.progressed(world.now)
    assert not world.after(29)
    assert world.after(2)


async def test_an_engine_is_judged_only_if_progress_would_show(world: World) -> None:
    slot = world.fleet.take(world.engine)
    assert not world.after(1000)  # no metrics, no stream
    slot.started_stream()
    assert world.after(1)


async def test_a_wedged_engine_must_produce_a_token(world: World) -> None:
    await world.watch.scrape(world.engine)
    slot = world.fleet.take(world.engine)
    assert world.after(31)
    slot.release()
    world.scripted.answer = (500, {"error": {"message": "CUDA error"}})
    await world.watch.probe(world.engine)
    assert world.engine.ejected
    world.scripted.answer = None
    await world.watch.probe(world.engine)
    assert not world.engine.ejected


async def test_a_timeout_of_0_turns_it_off(world: World) -> None:
    world.fleet.set_models([ModelSettings(name=MODEL, progress_timeout=0)])
    await world.watch.scrape(world.engine)
    world.fleet.take(world.engine)
    assert not world.after(10**6)
