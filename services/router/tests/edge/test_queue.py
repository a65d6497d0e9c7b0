"""The bounded queue: first come first served, work conserving, late binding, 429 with a prediction."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest

from llm_contract.testing import Script, ScriptedEngine
from llm_router.edge.proxy.queue import ModelQueue
from llm_router.settings import ModelSettings
from llm_router.testing import MODEL, RunningEdge, info


async def ask(client: aiohttp.ClientSession, edge: RunningEdge, name: str = "x", **body: Any) -> tuple[int, Any]:
    asked = {"model": MODEL, "prompt": name, "max_tokens": 1, **body}
    async with client.post(edge.url + "/v1/completions", json=asked) as response:
        await response.read()
        return response.status, response.headers.get("retry-after")


async def test_requests_wait_in_order_and_the_next_one_past_the_bound_gets_429(client: aiohttp.ClientSession) -> None:
    async with ScriptedEngine() as engine, RunningEdge(engine.url, model={"max_running": 1, "queue": 2}) as edge:
        engine.headers_gate.close()
        tasks = []
        for number, name in enumerate("abc"):
            tasks.append(asyncio.create_task(ask(client, edge, name)))
            await edge.until(lambda number=number: edge.in_flight + edge.waiting == number + 1)  # type: ignore[misc]
        status, retry_after = await ask(client, edge, "d")
        assert status == 429
        assert retry_after is not None
        assert 1 <= int(retry_after) <= 60
        assert edge.sample("router_queue_depth", model=MODEL) == 2
        engine.headers_gate.open()
        assert [(await task)[0] for task in tasks] == [200] * 3
        assert [received.body["prompt"] for received in engine.received] == ["a", "b", "c"]
        assert edge.sample("router_requests_total", model=MODEL, policy="prefix", outcome="queue_full") == 1


def test_retry_after_is_the_time_in_which_the_queue_drains() -> None:
    queue = ModelQueue(ModelSettings(name=MODEL), slots=lambda: 2)
    for _ in range(1000):
        queue.rate.held(10.0)
    assert queue.retry_after() == pytest.approx(5.0, rel=0.05)  # one request at 2 slots in 10 s
    assert ModelQueue(ModelSettings(name=MODEL), slots=lambda: 0).retry_after() == 60.0


async def test_no_engine_idles_while_a_request_waits(client: aiohttp.ClientSession) -> None:
    async with (
        ScriptedEngine() as slow,
        ScriptedEngine() as quick,
        RunningEdge(slow.url, quick.url, model={"max_running": 1, "policy": "least_loaded"}) as edge,
    ):
        slow.headers_gate.close()
        tasks = [asyncio.create_task(ask(client, edge, str(number))) for number in range(8)]
        await edge.until(lambda: sum(task.done() for task in tasks) == 7)  # the quick engine served all but one
        assert (len(slow.received), len(quick.received)) == (1, 7)
        slow.headers_gate.open()
        assert [(await task)[0] for task in tasks] == [200] * 8


async def test_a_retried_request_keeps_its_place(client: aiohttp.ClientSession) -> None:
    seldom = {"signals_interval": 60, "probe_interval": 60}
    one_at_a_time = {"max_running": 1, "queue": 1}
    async with ScriptedEngine() as engine, RunningEdge(engine.url, model=one_at_a_time, watch=seldom) as edge:
        engine.headers_gate.close()
        first = asyncio.create_task(ask(client, edge, "first"))
        await engine.until(lambda: engine.headers_gate.parked == 1)
        second = asyncio.create_task(ask(client, edge, "second"))
        await edge.until(lambda: edge.waiting == 1)
        engine.die_after_chunks, engine.healthy = 0, False
        engine.headers_gate.release()
        await edge.until(lambda: edge.waiting == 2)  # the queue is full, and the request was here before
        engine.die_after_chunks = None
        engine.headers_gate.open()
        edge.fleet.restore(edge.engines["e0"])
        assert ((await first)[0], (await second)[0]) == (200, 200)
        assert [received.body.get("prompt") for received in engine.received] == ["first", "first", "second"]


async def test_without_a_control_plane_requests_fail_soon_once_no_engine_is_up(client: aiohttp.ClientSession) -> None:
    async with ScriptedEngine() as engine, RunningEdge(engine.url, unavailable_timeout=0.05) as edge:
        await engine.stop()
        async with client.post(edge.url + "/v1/completions", json={"model": MODEL, "prompt": "x"}) as response:
            assert response.status == 503
            error = (await response.json())["error"]
            assert (error["code"], "connection refused" in error["message"]) == ("engine_unavailable", True)


async def test_an_engine_that_comes_back_in_time_serves_what_waits(client: aiohttp.ClientSession) -> None:
    async with ScriptedEngine() as engine, RunningEdge(engine.url, unavailable_timeout=10) as edge:
        await engine.stop()
        task = asyncio.create_task(ask(client, edge))
        await edge.until(lambda: edge.waiting == 1)
        await engine.start()
        assert (await task)[0] == 200


async def test_a_request_waits_no_longer_than_the_queue_timeout(client: aiohttp.ClientSession) -> None:
    async with (
        ScriptedEngine() as engine,
        RunningEdge(engine.url, model={"max_running": 1}, queue_timeout=0.05) as edge,
    ):
        engine.headers_gate.close()
        first = asyncio.create_task(ask(client, edge))
        await engine.until(lambda: len(engine.received) == 1)
        assert (await ask(client, edge))[0] == 408
        engine.headers_gate.open()
        assert (await first)[0] == 200


async def test_a_removed_model_fails_what_waits_for_it(client: aiohttp.ClientSession) -> None:
    async with ScriptedEngine() as engine, RunningEdge(engine.url, model={"max_running": 1}) as edge:
        engine.headers_gate.close()
        first = asyncio.create_task(ask(client, edge))
        await engine.until(lambda: len(engine.received) == 1)
        second = asyncio.create_task(ask(client, edge))
        await edge.until(lambda: edge.waiting == 1)
        edge.fleet.set_models([])
        assert (await second)[0] == 404
        engine.headers_gate.open()
        assert (await first)[0] == 200


async def test_models_have_engines_and_queues_of_their_own(client: aiohttp.ClientSession) -> None:
    async with (
        ScriptedEngine(Script(model="a")) as one,
        ScriptedEngine(Script(model="b")) as other,
        RunningEdge() as edge,
    ):
        edge.fleet.set_models([ModelSettings(name="a", max_running=1, queue=0), ModelSettings(name="b")])
        edge.fleet.set_engines("engines-a", [info("a0", model="a", url=one.url)])
        edge.fleet.set_engines("engines-b", [info("b0", model="b", url=other.url)])
        one.headers_gate.close()
        first = asyncio.create_task(ask(client, edge, model="a"))
        await one.until(lambda: len(one.received) == 1)
        assert (await ask(client, edge, model="a"))[0] == 429
        assert (await ask(client, edge, model="b"))[0] == 200
        async with client.post(edge.url + "/v1/completions", json={"prompt": "x"}) as response:
            assert (response.status, "a, b" in await response.text()) == (400, True)
        one.headers_gate.open()
        assert (await first)[0] == 200
        assert (len(one.received), len(other.received)) == (1, 1)
