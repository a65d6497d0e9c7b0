"""Requests that move to another engine, as clients see them: resumed streams, hedges, preemptions, ejections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import orjson
import pytest

from llm_contract import sse
from llm_contract.testing import Script, ScriptedEngine
from llm_gateway.classes import DEFAULT_CLASSES
from llm_gateway.testing import RunningGateway

ONE_EACH = {"max_in_flight": 1}


async def stream(
    client: aiohttp.ClientSession, gateway: RunningGateway, path: str = "/v1/completions", **body: Any
) -> list[Any]:
    """Return the data of every event of a stream, which must be well formed to its end."""
    body = {"prompt": "x", **body} if path.endswith("/completions") and "messages" not in body else body
    async with client.post(gateway.url + path, json={"stream": True, **body}) as response:
        assert response.status == 200
        raw = await response.read()
    assert raw.endswith(b"\n\n")
    return [data if data == sse.DONE_DATA else orjson.loads(data) for data in sse.Decoder().feed(raw)]


async def post(client: aiohttp.ClientSession, gateway: RunningGateway, cls: str, **body: Any) -> int:
    asked = {"prompt": "x", "max_tokens": 2, **body}
    async with client.post(gateway.url + "/v1/completions", json=asked, headers={"x-priority": cls}) as response:
        await response.read()
        return response.status


def settings(engine: ScriptedEngine, **more: Any) -> dict[str, Any]:
    return {"url": engine.url, **more}


def reattempts(gateway: RunningGateway, cls: str, reason: str) -> float:
    return gateway.sample("gateway_reattempts_total", **{"class": cls, "reason": reason})


@asynccontextmanager
async def two_engines(**settings: Any) -> AsyncIterator[tuple[ScriptedEngine, ScriptedEngine, RunningGateway]]:
    async with (
        ScriptedEngine() as one,
        ScriptedEngine() as other,
        RunningGateway(one.url, other.url, balancing="least_loaded", **settings) as gateway,
    ):
        yield one, other, gateway


async def test_a_stream_whose_engine_dies_is_gone_on_with_at_another(client: aiohttp.ClientSession) -> None:
    async with two_engines() as (dying, other, gateway):
        dying.die_after_chunks = other.die_after_chunks = 3
        dying.chunk_gate.close()
        other.chunk_gate.close()
        task = asyncio.create_task(
            stream(client, gateway, max_tokens=8, temperature=0, stream_options={"include_usage": True})
        )
        await gateway.until(lambda one: dying.received or other.received)
        first, second = (dying, other) if dying.received else (other, dying)
        second.die_after_chunks = None
        dying.chunk_gate.open()
        other.chunk_gate.open()
        events = await asyncio.wait_for(task, 30.0)
        texts = [choice["text"] for event in events[:-1] for choice in event["choices"]]
        (asked,) = [request.body for request in second.received]
        assert asked["prompt"] == "xw0 w1 w2 "
        assert asked["max_tokens"] == 5
        assert texts[:3] == ["w0 ", "w1 ", "w2 "]
        assert "".join(texts) == "".join(f"w{i} " for i in range(8))
        assert events[-2]["usage"] == {"prompt_tokens": 1, "completion_tokens": 8, "total_tokens": 9}
        assert {event["id"] for event in events[:-1]} == {events[0]["id"]}
        assert not any("error" in event for event in events[:-1])
        assert events[-1] == sse.DONE_DATA
        assert len(first.received) == 1
        assert gateway.in_flight == 0
        assert gateway.sample("gateway_requests_total", **{"class": "standard", "outcome": "ok"}) == 1
        assert reattempts(gateway, "standard", "resume") == 1


@pytest.mark.parametrize(("path", "prompt_tokens"), [("/v1/completions", 1), ("/v1/chat/completions", 2)])
async def test_the_client_of_a_stream_that_moved_twice_gets_each_token_once(
    client: aiohttp.ClientSession, path: str, prompt_tokens: int
) -> None:
    asked = {"prompt": "x"} if path == "/v1/completions" else {"messages": [{"role": "user", "content": "hi"}]}
    async with ScriptedEngine(Script(tokens_per_chunk=(2, 1))) as engine, RunningGateway(engine.url) as gateway:
        engine.die_after_chunks = 2
        task = asyncio.create_task(
            stream(client, gateway, path, max_tokens=8, stream_options={"include_usage": True}, **asked)
        )
        events = await asyncio.wait_for(task, 30.0)
        choices = [choice for event in events[:-1] for choice in event["choices"]]
        texts = [choice.get("text", choice.get("delta", {}).get("content", "")) for choice in choices]
        assert "".join(texts) == "w0 w1 w2 w3 w4 w5 w6 w7 "
        assert events[-2]["usage"] == {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": 8,
            "total_tokens": prompt_tokens + 8,
        }
        assert [choice["finish_reason"] for choice in choices[:-1]] == [None] * (len(choices) - 1)
        assert choices[-1]["finish_reason"] == "length"
        assert reattempts(gateway, "standard", "resume") == 2


async def test_a_stream_that_is_not_sound_to_replay_ends_with_an_error(client: aiohttp.ClientSession) -> None:
    async with ScriptedEngine() as one, ScriptedEngine() as other, RunningGateway(one.url, other.url) as gateway:
        one.die_after_chunks = other.die_after_chunks = 2
        events = await stream(client, gateway, max_tokens=8, seed=3, temperature=0.5)
        assert events[-1]["error"]["code"] == "engine_failed"
        assert len(one.received) + len(other.received) == 1


async def test_replay_ends_where_attempts_do(client: aiohttp.ClientSession) -> None:
    async with ScriptedEngine() as engine, RunningGateway(engine.url, max_attempts=2) as gateway:
        engine.die_after_chunks = 2
        events = await stream(client, gateway, max_tokens=9)
        assert len(engine.received) == 2
        assert events[-1]["error"]["code"] == "engine_failed"
        assert gateway.in_flight == 0


async def test_a_resumption_that_gets_no_slot_in_time_ends_the_stream(client: aiohttp.ClientSession) -> None:
    classes = [dict(DEFAULT_CLASSES[0]), DEFAULT_CLASSES[1].model_copy(update={"queue_timeout": 0.1}).model_dump()]
    async with (
        ScriptedEngine() as first,
        ScriptedEngine() as other,
        RunningGateway(
            *(settings(engine, max_in_flight=1) for engine in (first, other)), classes=classes, max_attempts=9
        ) as gateway,
    ):
        for engine in (first, other):
            engine.chunk_gate.close()
        tasks = [asyncio.create_task(stream(client, gateway, max_tokens=8)) for _ in range(2)]
        await gateway.until(lambda _: bool(first.received and other.received))
        urgent = asyncio.create_task(post(client, gateway, "interactive"))  # gets the dead stream's slot
        await gateway.until(lambda _: gateway.waiting == 1)
        first.die_after_chunks = 2
        first.headers_gate.close()
        first.chunk_gate.open()
        done, left = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        assert done.pop().result()[-1]["error"]["code"] == "engine_failed"
        assert reattempts(gateway, "standard", "resume") == 1
        first.die_after_chunks = None
        first.headers_gate.open()
        other.chunk_gate.open()
        assert (await left.pop())[-1] == sse.DONE_DATA
        assert await urgent == 200


async def test_a_stream_that_lacked_only_its_end_mark_is_complete(client: aiohttp.ClientSession) -> None:
    async with ScriptedEngine() as engine, RunningGateway(engine.url) as gateway:
        engine.die_after_chunks = 4
        events = await stream(client, gateway, max_tokens=4)
        assert len(engine.received) in (1, 2)
        assert "error" not in events[-2]
        assert events[-1] == sse.DONE_DATA


async def test_a_hedge_takes_over_from_an_engine_that_does_not_begin(client: aiohttp.ClientSession) -> None:
    classes = [
        DEFAULT_CLASSES[0].model_copy(update={"hedge_after": 0.01}).model_dump(),
        *map(dict, DEFAULT_CLASSES[1:]),
    ]
    async with two_engines(classes=classes) as (slow, quick, gateway):
        slow.headers_gate.close()
        quick.headers_gate.close()
        headers = {"x-priority": "interactive"}
        asked = {"prompt": "x", "stream": True}
        task = asyncio.create_task(client.post(gateway.url + "/v1/completions", json=asked, headers=headers))
        await gateway.until(lambda one: bool(slow.received and quick.received))
        quick.headers_gate.open()
        response = await asyncio.wait_for(task, 30.0)
        assert (await response.read()).endswith(sse.DONE)
        assert response.headers["x-engine"] == f"127.0.0.1:{quick.port}"
        await slow.until(lambda: len(slow.aborted) == 1)
        await gateway.until(lambda one: one.in_flight == 0)
        assert reattempts(gateway, "interactive", "hedge") == 1


async def test_a_preempted_client_sees_a_longer_wait_only(client: aiohttp.ClientSession) -> None:
    async with ScriptedEngine() as engine:
        preemption = {"enabled": True, "within": 60.0}
        async with RunningGateway(settings(engine, **ONE_EACH), preemption=preemption) as gateway:
            engine.headers_gate.close()
            batch = asyncio.create_task(post(client, gateway, "batch"))
            await engine.until(lambda: len(engine.received) == 1)
            urgent = asyncio.create_task(post(client, gateway, "interactive"))
            await engine.until(lambda: len(engine.received) == 2)
            assert len(engine.aborted) == 1
            assert gateway.waiting == 1
            engine.headers_gate.open()
            urgent_status, batch_status = await asyncio.gather(urgent, batch)
            assert (urgent_status, batch_status) == (200, 200)
            assert len(engine.received) == 3
            assert gateway.in_flight == 0
            assert reattempts(gateway, "batch", "preempted") == 1


@pytest.mark.parametrize("streamed", [False, True])
async def test_an_ejected_engines_requests_go_on_elsewhere(client: aiohttp.ClientSession, streamed: bool) -> None:
    async with two_engines(progress_timeout=0) as (one, other, gateway):
        for engine in (one, other):
            engine.stall_after_chunks = 2 if streamed else None
            if not streamed:
                engine.headers_gate.close()
        task = asyncio.create_task(post(client, gateway, "standard", max_tokens=6, stream=streamed))
        await gateway.until(lambda _: bool(one.received or other.received))
        stuck, well = (one, other) if one.received else (other, one)
        if streamed:
            await stuck.until(lambda: stuck.received[0].chunks_sent == 2)
        well.stall_after_chunks = None
        well.headers_gate.open()
        ejected = next(engine for engine in gateway.parts.pool.engines if engine.base.port == stuck.port)
        gateway.parts.pool.eject(ejected, "no progress for 30 s")
        gateway.parts.proxy.fail_over(ejected)
        assert await asyncio.wait_for(task, 30.0) == 200
        assert len(well.received) == 1
        assert gateway.in_flight == 0
