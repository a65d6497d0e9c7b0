"""The checked load tells a good answer from one that is lost, cut, or not the same text."""

from __future__ import annotations

import asyncio

import pytest

from llm_contract.testing import Script, ScriptedEngine
from llm_measure.traffic import Traffic

SCRIPT = Script(model="main")


async def run_until(engine: ScriptedEngine, traffic: Traffic, answers: int) -> None:
    await engine.until(lambda: len(traffic.answers) >= answers)


async def test_every_answer_of_an_undisturbed_engine_is_good() -> None:
    async with ScriptedEngine(SCRIPT) as engine, Traffic(engine.url, unary=2, streams=2, tokens=5) as traffic:
        await run_until(engine, traffic, 20)
    found = traffic.summary()
    assert (found["lost_unary"], found["unfinished_streams"], found["wrong_texts"], found["seen"]) == (0, 0, 0, {})
    assert found["unary"] > 0
    assert found["streams"] > 0
    assert set(found["itl_ms"]) == {"p50_ms", "p90_ms", "p99_ms", "max_ms"}
    assert {len(answer.arrivals) for answer in traffic.answers if answer.stream} == {5}


async def test_a_client_that_thinks_sends_nothing_and_does_not_hold_up_the_end() -> None:
    async with ScriptedEngine(SCRIPT) as engine:
        async with asyncio.timeout(30), Traffic(engine.url, unary=1, streams=2, tokens=2, think=60) as traffic:
            learnt = len(engine.received)
            while len(traffic.answers) < 3:  # noqa: ASYNC110 - nothing tells of an answer
                await asyncio.sleep(0.01)
        assert len(engine.received) == learnt + 3
    assert not traffic.bad


@pytest.mark.parametrize(("dies_after", "streams", "seen"), [(2, 1, "unfinished"), (0, 1, "failed"), (0, 0, "failed")])
async def test_an_answer_that_is_cut_is_lost(dies_after: int, streams: int, seen: str) -> None:
    async with (
        ScriptedEngine(SCRIPT) as engine,
        Traffic(engine.url, unary=1 - streams, streams=streams, tokens=5) as traffic,
    ):
        engine.die_after_chunks = dies_after
        await run_until(engine, traffic, 3)
    found = traffic.summary()
    assert found["lost_unary" if not streams else "unfinished_streams"] == len(traffic.bad) >= 1
    assert {answer.outcome for answer in traffic.bad} == {seen}


async def test_an_error_event_is_an_unfinished_stream_even_before_done() -> None:
    events = b'data: {"error": {"message": "gone"}}\n\ndata: [DONE]\n\n'
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: %d\r\n\r\n" % len(events)
    async with ScriptedEngine(SCRIPT) as engine, Traffic(engine.url, streams=1, tokens=5) as traffic:
        engine.raw_answer = (head + events,)
        await run_until(engine, traffic, 3)
    assert "gone" in traffic.bad[0].detail
    assert traffic.bad[0].outcome == "unfinished"


async def test_a_token_twice_is_a_wrong_text_and_a_token_less_a_wrong_usage() -> None:
    usage = {"completion_tokens": 2}
    async with ScriptedEngine(SCRIPT) as engine, Traffic(engine.url, unary=1, tokens=2) as traffic:
        await run_until(engine, traffic, 1)
        engine.answers.append((200, {"choices": [{"text": "w0 w0 "}], "usage": usage}))
        await run_until(engine, traffic, len(traffic.answers) + 3)
        engine.answers.append((200, {"choices": [{"text": "w0 "}], "usage": {"completion_tokens": 1}}))
        await run_until(engine, traffic, len(traffic.answers) + 3)
    assert [answer.outcome for answer in traffic.bad] == ["wrong text", "wrong usage"]


async def test_a_server_that_answers_nothing_well_is_refused_at_once() -> None:
    async with ScriptedEngine(SCRIPT) as engine:
        engine.answer = (503, {"error": "loading"})
        with pytest.raises(RuntimeError, match="refused, 503"):
            await asyncio.wait_for(Traffic(engine.url, unary=1).__aenter__(), 10.0)
