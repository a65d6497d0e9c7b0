from __future__ import annotations

import asyncio

import pytest
from yarl import URL

from llm_contract.testing import Gate
from llm_proxy.upstream.target import Target
from llm_proxy.watch.loop import EngineLoop


def targets(*names: str) -> list[Target]:
    return [Target(URL("http://e"), shown=name) for name in names]


class Turns:
    """Counts of turns by engine. The turns of `slow` engines wait at the gate."""

    def __init__(self) -> None:
        self.gate = Gate()
        self.seen: list[str] = []
        self.changed = asyncio.Event()

    async def __call__(self, engine: Target) -> None:
        self.seen.append(engine.shown)
        self.changed.set()
        if engine.shown == "slow":
            await self.gate.wait()

    async def until(self, name: str, count: int) -> None:
        async with asyncio.timeout(30.0):
            while self.seen.count(name) < count:
                self.changed.clear()
                await self.changed.wait()


async def test_a_slow_engine_delays_only_itself_and_engines_come_and_go() -> None:
    engines, turns = targets("slow", "quick"), Turns()
    loop = EngineLoop(lambda: engines, turns, 0.001)
    await loop.start()
    assert sorted(turns.seen) == ["quick", "slow"]
    turns.gate.close()
    await turns.until("quick", 5)
    assert turns.seen.count("slow") == 2
    engines += targets("new")
    await turns.until("new", 2)
    del engines[1]
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
    await EngineLoop(list[Target], Turns(), 1.0).stop()


async def test_an_engine_whose_turn_fails_unexpectedly_is_logged_once_and_stops_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    engines, turns = targets("odd", "good"), Turns()

    async def action(engine: Target) -> None:
        await turns(engine)
        if engine.shown == "odd":
            raise UnicodeError("label empty")

    loop = EngineLoop(lambda: engines, action, 0.001)
    await loop.start()
    await turns.until("odd", 4)
    await turns.until("good", 4)
    await loop.stop()
    assert [record.getMessage() for record in caplog.records] == [
        "engine odd: watching it failed: UnicodeError: label empty"
    ]
    assert caplog.records[0].exc_info is None
