"""The load client in its own process, against a scripted engine in this one."""

from __future__ import annotations

import asyncio

from llm_contract.testing import Script, ScriptedEngine
from llm_measure import results

BRIEF = ("--seconds", "0.5", "--warm-up", "0.2", "--connections", "4")


async def test_a_closed_loop_counts_requests_and_failures() -> None:
    async with ScriptedEngine(Script(model="main"), keep_records=False) as engine:
        found = await asyncio.to_thread(results.load, engine.url, "closed", *BRIEF)
        assert found["requests"] > 0
        assert found["failed"] == 0
        assert found["per_second"] == found["requests"] / 0.5
        assert found["p50_ms"] <= found["p99_ms"] <= found["max_ms"]
        engine.answer = (500, {"error": "no"})
        found = await asyncio.to_thread(results.load, engine.url, "closed", *BRIEF)
        assert found["failed"] == found["requests"] > 0


async def test_streams_count_events_and_the_gaps_between_them() -> None:
    async with ScriptedEngine(Script(model="main", gaps=(0.02,)), keep_records=False) as engine:
        found = await asyncio.to_thread(results.load, engine.url, "streams", "--max-tokens", "20", *BRIEF)
    assert found["silent_streams"] == 0
    assert found["events_per_second"] > 0
    assert found["gap"]["max_ms"] >= 19.0
    assert found["delay"] == {}, "the scripted engine does not state when it sent an event"
