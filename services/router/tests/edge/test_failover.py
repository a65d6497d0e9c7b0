"""Engines that fail, as clients see it: retries before the first byte, replays after it, and honest ends."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import orjson
import pytest

from llm_contract import sse
from llm_contract.testing import ScriptedEngine, full_backlog
from llm_contract.testing.script import text as words
from llm_proxy.upstream.retry_budget import RetryBudgetSettings
from llm_router.testing import MODEL, RunningEdge

PATHS = ("/v1/completions", "/v1/chat/completions")


def asked(path: str, **body: Any) -> dict[str, Any]:
    prompt = {"prompt": "x"} if path == "/v1/completions" else {"messages": [{"role": "user", "content": "x"}]}
    return {"model": MODEL, **prompt, **body}


async def post(client: aiohttp.ClientSession, edge: RunningEdge, **body: Any) -> tuple[int, dict[str, Any]]:
    async with client.post(edge.url + "/v1/completions", json=asked("/v1/completions", **body)) as response:
        return response.status, await response.json()


async def stream(
    client: aiohttp.ClientSession, edge: RunningEdge, path: str = "/v1/completions", **body: Any
) -> list[Any]:
    """Return the data of every event of a stream, which must be well formed to its end."""
    async with client.post(edge.url + path, json=asked(path, stream=True, **body)) as response:
        assert response.status == 200
        raw = await response.read()
    assert raw.endswith(b"\n\n")
    return [data if data == sse.DONE_DATA else orjson.loads(data) for data in sse.Decoder().feed(raw)]


def text_of(events: list[Any]) -> str:
    choices = [event["choices"][0] for event in events if event != sse.DONE_DATA and event.get("choices")]
    return "".join(choice.get("text") or choice.get("delta", {}).get("content") or "" for choice in choices)


@asynccontextmanager
async def two_engines(**settings: Any) -> AsyncIterator[tuple[ScriptedEngine, ScriptedEngine, RunningEdge]]:
    async with (
        ScriptedEngine() as one,
        ScriptedEngine() as other,
        RunningEdge(one.url, other.url, **settings) as edge,
    ):
        yield one, other, edge


@asynccontextmanager
async def dying(
    after: int, *, path: str = "/v1/completions", **body: Any
) -> AsyncIterator[tuple[asyncio.Task[list[Any]], ScriptedEngine, ScriptedEngine, RunningEdge]]:
    """Yield a stream that breaks `after` some chunks, the engine that resets it, the other engine, and the edge."""
    async with two_engines() as (one, other, edge), aiohttp.ClientSession() as client:
        one.chunk_gate.close()
        other.chunk_gate.close()
        task = asyncio.create_task(stream(client, edge, path, **body))
        await edge.until(lambda: bool(one.received or other.received))
        first, second = (one, other) if one.received else (other, one)
        first.die_after_chunks = after
        first.chunk_gate.open()
        second.chunk_gate.open()
        yield task, first, second, edge


async def test_a_refused_connection_costs_the_client_nothing_and_ejects_within_milliseconds(
    client: aiohttp.ClientSession,
) -> None:
    async with two_engines(model={"policy": "round_robin"}, watch={"signals_interval": 60, "probe_interval": 60}) as (
        one,
        other,
        edge,
    ):
        await one.stop()
        begun = time.monotonic()
        answers = [await post(client, edge, max_tokens=2) for _ in range(4)]
        assert [status for status, _ in answers] == [200] * 4
        assert time.monotonic() - begun < 2.0
        assert (edge.engines["e0"].ejected, len(other.received)) == (True, 4)
        assert edge.sample("router_ejections_total", model=MODEL, engine="e0", cause="connect") == 1
        assert edge.sample("router_reattempts_total", model=MODEL, reason="retry") == 1


async def test_an_engine_too_busy_to_accept_a_connection_stays_in(client: aiohttp.ClientSession) -> None:
    """A hundred late connections open no circuit breaker, and the engine serves as soon as it accepts again."""
    watch = {"signals_interval": 60, "probe_interval": 60}
    async with two_engines(model={"policy": "round_robin"}, watch=watch, connect_timeout=0.05, max_attempts=1) as (
        *_,
        edge,
    ):
        with full_backlog() as accepting:
            answers = await asyncio.gather(*(post(client, edge, max_tokens=1) for _ in range(100)))
            assert sum(status == 503 for status, _ in answers) > 50  # some find a connection that is open
            assert all(engine.is_up for engine in edge.engines.values())
            accepting.set()
            assert (await post(client, edge, max_tokens=1))[0] == 200


async def test_a_reset_before_the_first_byte_moves_the_request(client: aiohttp.ClientSession) -> None:
    async with two_engines(model={"policy": "round_robin"}, watch={"signals_interval": 60, "probe_interval": 60}) as (
        one,
        _,
        edge,
    ):
        one.die_after_chunks = 0
        status, answer = await post(client, edge, max_tokens=2)
        assert (status, answer["choices"][0]["text"]) == (200, "w0 w1 ")
        assert edge.sample("router_ejections_total", model=MODEL, engine="e0", cause="reset") == 1
        assert (
            edge.sample("router_attempts_total", model=MODEL, engine="e0", policy="round_robin", outcome="headers") == 1
        )


async def test_an_ejected_engine_returns_after_a_probe(client: aiohttp.ClientSession) -> None:
    async with two_engines() as (one, _, edge):
        await one.stop()
        await edge.until(lambda: edge.engines["e0"].ejected)  # nobody asked it: the scrape found out
        await one.start()
        await edge.until(lambda: not edge.engines["e0"].ejected)


@pytest.mark.parametrize("path", PATHS)
async def test_a_broken_stream_goes_on_at_another_engine(path: str) -> None:
    async with dying(3, path=path, max_tokens=8, stream_options={"include_usage": True}) as (task, _, second, edge):
        events = await task
        assert events[-1] == sse.DONE_DATA
        assert text_of(events) == words(0, 8)
        assert len({event["id"] for event in events[:-1]}) == 1
        usage = events[-2]["usage"]
        assert (usage["prompt_tokens"], usage["completion_tokens"]) == (1, 8)
        assert len(second.received) == 1
        assert edge.sample("router_broken_streams_total", model=MODEL, ending="replayed") == 1


async def test_a_stream_goes_on_although_the_next_engine_died_with_its_own(client: aiohttp.ClientSession) -> None:
    """Both ran on one node, say: neither the tokens that the client has can be counted there, nor the rest computed."""
    async with (
        ScriptedEngine() as one,
        ScriptedEngine() as other,
        ScriptedEngine() as last,
        RunningEdge(
            one.url,
            other.url,
            last.url,
            model={"policy": "round_robin"},
            watch={"signals_interval": 60, "probe_interval": 60},
        ) as edge,
    ):
        one.die_after_chunks = 3
        one.chunk_gate.close()
        task = asyncio.create_task(stream(client, edge, max_tokens=12))
        await edge.until(lambda: bool(one.received))
        await other.stop()
        one.chunk_gate.open()
        assert text_of(await task) == words(0, 12)
        assert len(last.received) == 1


async def test_a_stream_that_breaks_twice_goes_on_twice(client: aiohttp.ClientSession) -> None:
    async with (
        ScriptedEngine() as one,
        ScriptedEngine() as other,
        ScriptedEngine() as last,
        RunningEdge(one.url, other.url, last.url, model={"policy": "round_robin"}) as edge,
    ):
        one.die_after_chunks, other.die_after_chunks = 3, 4
        events = await stream(client, edge, max_tokens=12)
        assert events[-1] == sse.DONE_DATA
        assert text_of(events) == words(0, 12)
        assert last.received[0].body["max_tokens"] == 5


@pytest.mark.parametrize("body", [{"seed": 7}, {"presence_penalty": 0.5}, {"logprobs": 1}])
async def test_a_stream_that_cannot_go_on_ends_with_an_error_event(body: dict[str, Any]) -> None:
    async with dying(3, max_tokens=8, **body) as (task, _, second, edge):
        events = await task
        assert events[-1]["error"]["code"] == "engine_failed"
        assert second.received == []
        assert edge.sample("router_broken_streams_total", model=MODEL, ending="error") == 1
        assert edge.sample("router_requests_total", model=MODEL, policy="prefix", outcome="engine_failed") == 1


async def test_a_replay_that_is_refused_ends_with_an_error_event() -> None:
    async with dying(3, max_tokens=8) as (task, _, second, edge):
        second.answer = (503, {"error": {"message": "full", "type": "server_error", "code": 503}})
        events = await task
        assert text_of(events[:-1]) == words(0, 3)
        assert events[-1]["error"]["code"] == "engine_failed"
        assert len(second.received) == 1
        assert edge.sample("router_broken_streams_total", model=MODEL, ending="error") == 1


async def test_resume_can_be_turned_off(client: aiohttp.ClientSession) -> None:
    async with two_engines(model={"resume": False}) as (one, other, edge):
        one.die_after_chunks = other.die_after_chunks = 3
        events = await stream(client, edge, max_tokens=8)
        assert events[-1]["error"]["code"] == "engine_failed"


async def test_an_answer_that_lacks_only_its_end_is_completed() -> None:
    async with dying(8, max_tokens=8) as (task, _, second, _):
        events = await task
        assert (text_of(events), events[-1]) == (words(0, 8), sse.DONE_DATA)
        assert second.received == []


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_wedged_engine_loses_its_requests_to_another(client: aiohttp.ClientSession, streamed: bool) -> None:
    async with two_engines(model={"progress_timeout": 0.2, "policy": "round_robin"}) as (one, other, edge):
        await edge.until(lambda: edge.engines["e0"].reports)
        one.stall_after_chunks = 3 if streamed else 0
        if streamed:
            events = await stream(client, edge, max_tokens=8)
            assert (text_of(events), events[-1]) == (words(0, 8), sse.DONE_DATA)
        else:
            status, answer = await post(client, edge, max_tokens=8)
            assert (status, answer["choices"][0]["text"]) == (200, words(0, 8))
        assert edge.sample("router_ejections_total", model=MODEL, engine="e0", cause="progress") == 1
        assert len(one.aborted) == len(other.received) == 1
        assert edge.engines["e0"].ejected  # its /health is good, but it makes no tokens
        one.stall_after_chunks = None
        one.stall_gate.open()
        await edge.until(lambda: not edge.engines["e0"].ejected)


async def test_a_refusal_moves_to_another_engine_and_the_last_one_is_passed_on(client: aiohttp.ClientSession) -> None:
    async with two_engines(model={"policy": "round_robin"}) as (one, other, edge):
        one.answer = (500, {"error": {"message": "broken", "type": "server_error"}})
        assert (await post(client, edge, max_tokens=1))[0] == 200
        other.answer = (503, {"error": {"message": "busy", "type": "server_error"}})
        status, answer = await post(client, edge, max_tokens=1)
        assert (status, answer["error"]["message"]) in ((500, "broken"), (503, "busy"))
        assert not edge.engines["e0"].ejected


async def test_a_clients_mistake_is_passed_on_and_costs_the_engine_nothing(client: aiohttp.ClientSession) -> None:
    async with two_engines() as (one, other, edge):
        status, answer = await post(client, edge, prompt="")
        assert (status, answer["error"]["param"]) == (400, "prompt")
        assert len(one.received) + len(other.received) == 1
        assert edge.sample("router_requests_total", model=MODEL, policy="prefix", outcome="engine_rejected") == 1


async def test_an_engine_that_fails_everything_gets_no_requests(client: aiohttp.ClientSession) -> None:
    async with two_engines(model={"policy": "least_loaded"}) as (one, _, edge):
        one.answer = (500, {"error": {"message": "broken"}})
        for _ in range(12):
            assert (await post(client, edge, max_tokens=1))[0] == 200
        assert len(one.received) == 5  # then its circuit breaker opened


async def test_retries_stay_within_their_budget(client: aiohttp.ClientSession) -> None:
    budget = RetryBudgetSettings(ratio=0, per_second=0, reserve=2)
    async with two_engines(retry_budget=budget, model={"policy": "round_robin"}) as (one, other, edge):
        one.answer = other.answer = (500, {"error": {"message": "broken"}})
        for _ in range(3):
            assert (await post(client, edge, max_tokens=1))[0] == 500
        assert len(one.received) + len(other.received) == 5  # three requests, two retries


async def test_an_overloaded_engine_rests_until_the_next_scrape(client: aiohttp.ClientSession) -> None:
    seldom = {"signals_interval": 60, "probe_interval": 60}
    async with two_engines(model={"policy": "least_loaded"}, watch=seldom) as (one, other, edge):
        one.answer = (429, {"error": {"message": "busy"}})
        for _ in range(6):
            assert (await post(client, edge, max_tokens=1))[0] == 200
        assert (len(one.received), len(other.received)) == (1, 6)
        assert not edge.engines["e0"].ejected
        one.answer = None
        await edge.server.watch.scrape(edge.engines["e0"])
        for _ in range(2):
            await post(client, edge, max_tokens=1)
        assert len(one.received) == 2


async def test_an_engine_that_lives_is_back_at_once_after_a_reset(client: aiohttp.ClientSession) -> None:
    seldom = {"signals_interval": 60, "probe_interval": 60}
    async with ScriptedEngine() as engine, RunningEdge(engine.url, watch=seldom) as edge:
        engine.headers_gate.close()
        task = asyncio.create_task(post(client, edge, max_tokens=1))
        await edge.until(lambda: engine.headers_gate.parked == 1)
        engine.die_after_chunks = 0
        engine.headers_gate.release()
        await edge.until(lambda: len(engine.received) == 2)
        engine.die_after_chunks = None
        engine.headers_gate.open()
        assert (await task)[0] == 200
