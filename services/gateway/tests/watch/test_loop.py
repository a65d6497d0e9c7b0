from __future__ import annotations

import asyncio

import pytest

from llm_contract.testing import Gate
from llm_gateway.engines import Engine, EnginePool
from llm_gateway.engines.settings import EngineSettings
from llm_gateway.watch.loop import EngineLoop


class Turns:
    """Counts of turns by engine. The turns of `slow` engines wait at the gate."""

    def __init__(self) -> None:
        self.gate = Gate()
        self.seen: list[str] = []
        self.changed = asyncio.Event()

    async def __call__(self, engine: Engine) -> None:
        self.seen.append(engine.name)
        self.changed.set()
        if engine.name == "slow":
            await self.gate.wait()

    async def until(self, name: str, count: int) -> None:
        async with asyncio.timeout(10.0):
            while self.seen.count(name) < count:
                self.changed.clear()
                await self.changed.wait()


async def test_a_slow_engine_delays_only_itself_and_engines_come_and_go() -> None:
    pool = EnginePool([EngineSettings(url="http://a", name="slow"), EngineSettings(url="http://b", name="quick")])
    turns = Turns()
    loop = EngineLoop(pool, turns, 0.001)
    await loop.start()
    assert sorted(turns.seen) == ["quick", "slow"]
    turns.gate.close()
    await turns.until("quick", 5)
    assert turns.seen.count("slow") == 2
    pool.add(EngineSettings(url="http://c", name="new"))
    await turns.until("new", 2)
    await pool.remove("quick")
    before = turns.seen.count("quick")
    await turns.until("new", 5)
    assert turns.seen.count("quick") <= before + 1
    turns.gate.open()
    await turns.until("slow", 3)
    await loop.stop()
    assert loop._busy == {}
    after = len(turns.seen)
    await asyncio.sleep(0)
    assert len(turns.seen) == after


async def test_stopped_before_it_was_started_it_has_nothing_to_do() -> None:
    await EngineLoop(EnginePool([]), Turns(), 1.0).stop()


async def test_an_engine_whose_turn_fails_unexpectedly_is_logged_once_and_stops_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    pool = EnginePool([EngineSettings(url="http://a", name="odd"), EngineSettings(url="http://b", name="good")])
    turns = Turns()

    async def action(engine: Engine) -> None:
        await turns(engine)
        if engine.name == "odd":
            raise UnicodeError("label empty")

    loop = EngineLoop(pool, action, 0.001)
    await loop.start()
    await turns.until("odd", 4)
    await turns.until("good", 4)
    await loop.stop()
    assert [record.getMessage() for record in caplog.records] == [
        "engine odd: watching it failed: UnicodeError: label empty"
    ]
    assert caplog.records[0].exc_info is None
