"""Engines that answer with an error: the retry at another engine, the answer to the client, and the blame."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import orjson
import pytest

from llm_contract import sse
from llm_contract.testing import ScriptedEngine
from llm_gateway.engines import Engine
from llm_gateway.testing import RawAnswer, RunningGateway, raw_post
from llm_gateway.waiting import Waiting
from llm_proxy.upstream.breaker import BreakerState

COMPLETION = "/v1/completions"
SENSITIVE = {"consecutive_failures": 1, "open_seconds": 3600.0}
EVENT = sse.encode({"id": "c", "choices": [{"index": 0, "text": "w0 ", "finish_reason": None}]})
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\nconnection: close\r\n\r\n"
GONE: dict[str, Any] = {"message": "gone", "type": "server_error", "code": 500}
BAD: dict[str, Any] = {"message": "bad", "type": "BadRequestError", "code": 400}
BUSY: dict[str, Any] = {"message": "busy", "code": "queue_full"}


class World:
    def __init__(self, gateway: RunningGateway, first: ScriptedEngine, other: ScriptedEngine) -> None:
        self.gateway = gateway
        self.first = first
        """The engine that gets the first try."""
        self.other = other

    @property
    def breaker(self) -> BreakerState:
        return self.gateway.parts.pool.engines[0].breaker.state

    def outcome(self, label: str) -> float:
        return self.gateway.sample("gateway_requests_total", **{"class": "standard", "outcome": label})

    async def ask(self, **more: Any) -> RawAnswer:
        return await raw_post(self.gateway.url, COMPLETION, {"prompt": "x", "max_tokens": 4, "seed": 1, **more})


class FirstFirst:
    def choose(self, engines: Sequence[Engine], request: Waiting) -> Engine:
        return engines[0]


@asynccontextmanager
async def world(*, idle_other: bool, **more: Any) -> AsyncIterator[World]:
    """A gateway with one engine, or with two of which the first is preferred."""
    async with ScriptedEngine() as first, ScriptedEngine() as other:
        engines = [first.url, other.url] if idle_other else [first.url]
        async with RunningGateway(*engines, **{"breaker": SENSITIVE, **more}) as gateway:
            gateway.parts.pool._balancer = FirstFirst()
            yield World(gateway, first, other)
            assert gateway.in_flight == 0


def raw(kind: bytes, *parts: bytes) -> tuple[bytes, ...]:
    return (HEAD % kind + b"".join(parts),)


# --- statuses ---------------------------------------------------------------------------------------------------------

STATUSES = [
    # status, tried elsewhere, counted by the breaker, outcome without another engine
    *((status, True, True, "engine_failed") for status in (500, 502, 504, 599)),
    (503, True, False, "engine_failed"),
    (429, True, False, "engine_rejected"),
    *((status, False, False, "engine_rejected") for status in (400, 401, 403, 404, 413, 422)),
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("idle_other", [False, True])
@pytest.mark.parametrize(("status", "elsewhere", "blamed", "outcome"), STATUSES)
async def test_a_status_before_the_first_byte(
    status: int, elsewhere: bool, blamed: bool, outcome: str, idle_other: bool, stream: bool
) -> None:
    async with world(idle_other=idle_other) as here:
        here.first.answer = (status, {"error": {"message": "mine"}})
        answer = await here.ask(stream=stream)
        if elsewhere and idle_other:
            assert (answer.status, len(here.first.received), len(here.other.received)) == (200, 1, 1)
            assert here.outcome("ok") == 1
        else:
            assert (answer.status, len(here.first.received), len(here.other.received)) == (status, 1, 0)
            assert orjson.loads(answer.body) == {"error": {"message": "mine"}}
            assert here.outcome(outcome) == 1
        assert (here.breaker is BreakerState.OPEN) is blamed
        assert answer.kept


async def test_the_last_answer_goes_through_when_all_engines_refuse() -> None:
    async with world(idle_other=True) as here:
        here.first.answer = (500, {"error": {"message": "first"}})
        here.other.answer = (503, {"error": {"message": "other"}})
        answer = await here.ask()
        assert (answer.status, orjson.loads(answer.body)["error"]["message"]) == (503, "other")
        assert (len(here.first.received), len(here.other.received)) == (1, 1)


async def test_an_engines_answer_is_worth_more_than_a_lost_connection() -> None:
    async with world(idle_other=True, max_attempts=2) as here:
        here.first.answer = (429, {"error": {"message": "first"}})
        here.other.die_after_chunks = 0
        answer = await here.ask()
        assert (answer.status, orjson.loads(answer.body)["error"]["message"]) == (429, "first")


async def test_refusals_are_retried_within_the_budget() -> None:
    none_left = {"ratio": 0, "per_second": 0, "reserve": 1}
    async with world(idle_other=True, retry_budget=none_left, breaker={"consecutive_failures": 100}) as here:
        here.first.answer = (500, {"error": {"message": "mine"}})
        assert [(await here.ask()).status for _ in range(3)] == [200, 500, 500]
        assert len(here.other.received) == 1


@pytest.mark.parametrize(("after", "seconds"), [("7", 7.0), ("86400", 30.0), ("0", 0.0), ("soon", 0.0), ("-3", 0.0)])
@pytest.mark.parametrize("status", [429, 503])
async def test_an_overloaded_engine_rests_for_as_long_as_it_asks(status: int, after: str, seconds: float) -> None:
    now = [1000.0]
    async with world(idle_other=True, clock=lambda: now[0], progress_timeout=0) as here:
        refusal = b"HTTP/1.1 %d X\r\nretry-after: %b\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}"
        here.first.raw_answer = (refusal % (status, after.encode()),)
        assert (await here.ask()).status == 200
        here.first.raw_answer = None
        if seconds:
            now[0] += seconds - 0.1
            assert (await here.ask()).status == 200
            assert len(here.first.received) == 1
            now[0] += 0.2
            await here.gateway.until(lambda it: it.parts.pool.engines[0].rests_until is None)
        assert (await here.ask()).status == 200
        assert len(here.first.received) == 2


async def test_the_last_engine_never_rests(client: aiohttp.ClientSession) -> None:
    async with world(idle_other=False) as here:
        here.first.raw_answer = (b"HTTP/1.1 429 X\r\nretry-after: 9\r\ncontent-length: 2\r\n\r\n{}",)
        async with client.post(here.gateway.url + COMPLETION, json={"prompt": "x"}) as response:
            assert (response.status, response.headers["retry-after"]) == (429, "9")
        here.first.raw_answer = None
        assert (await here.ask()).status == 200


# --- errors inside a 200 ----------------------------------------------------------------------------------------------


def error_events(error: dict[str, Any]) -> list[bytes]:
    return [
        sse.encode({"error": error}),
        b"event: error\n" + sse.encode(error),
        b"event: error\n" + sse.encode({"error": error}),
        sse.encode({"object": "error", **error}),
    ]


FIRST_EVENTS = [(event, after) for event in error_events(GONE) for after in (b"", sse.DONE)]
REFUSED: list[tuple[bytes, tuple[bytes, ...]]] = [
    *((b"text/event-stream", one) for one in FIRST_EVENTS),
    (b"application/json", (orjson.dumps({"error": GONE}),)),
    (b"application/json", (orjson.dumps({"object": "error", **GONE}),)),
    (b"application/json", (orjson.dumps({"error": "gone"}),)),
]


@pytest.mark.parametrize("idle_other", [False, True])
@pytest.mark.parametrize(("kind", "parts"), REFUSED)
async def test_an_error_in_place_of_an_answer(kind: bytes, parts: tuple[bytes, ...], idle_other: bool) -> None:
    async with world(idle_other=idle_other) as here:
        here.first.raw_answer = raw(kind, *parts)
        answer = await here.ask(stream=kind == b"text/event-stream")
        assert answer.status == 200
        assert len(here.first.received) == 1
        assert here.breaker is BreakerState.OPEN
        if idle_other:
            assert len(here.other.received) == 1
            assert b"gone" not in answer.body
            assert here.outcome("ok") == 1
        else:
            assert answer.body == parts[0], "the engine's own words, and no [DONE] after a failure"
            assert here.outcome("engine_failed") == 1


@pytest.mark.parametrize("event", error_events(GONE))
@pytest.mark.parametrize("after", [b"", sse.DONE])
async def test_an_error_after_the_first_event(event: bytes, after: bytes) -> None:
    """The stream has a seed, so no other engine can continue it."""
    async with world(idle_other=True) as here:
        here.first.raw_answer = raw(b"text/event-stream", EVENT, event, after)
        answer = await here.ask(stream=True, temperature=1)
        assert answer.body == EVENT + event
        assert answer.complete
        assert here.outcome("engine_failed") == 1
        assert here.breaker is BreakerState.OPEN
        assert here.other.received == []
        assert here.gateway.parts.proxy._ledger._outputs._classes == {}, "a failure teaches no length"
        missed = {"class": "standard", "kind": "failed"}
        assert here.gateway.sample("gateway_sla_violations_total", **missed) == 1


async def test_streams_that_begin_well_and_fail_open_the_breaker() -> None:
    async with world(idle_other=False, breaker={"consecutive_failures": 3}) as here:
        for number in range(3):
            assert (await here.ask(stream=True)).body.endswith(sse.DONE)
            here.first.raw_answer = raw(b"text/event-stream", EVENT, sse.encode({"error": GONE}))
            for _ in range(number + 1):
                assert here.breaker is BreakerState.CLOSED
                await here.ask(stream=True, temperature=1)
            here.first.raw_answer = None
        assert here.breaker is BreakerState.OPEN


async def test_an_error_after_the_first_event_is_mended_where_that_is_sound() -> None:
    async with world(idle_other=True) as here:
        here.first.raw_answer = raw(b"text/event-stream", EVENT, sse.encode({"error": GONE}), sse.DONE)
        answer = await here.ask(stream=True, seed=None)
        found = [orjson.loads(data) for data in sse.Decoder().feed(answer.body) if data != sse.DONE_DATA]
        assert "".join(event["choices"][0]["text"] for event in found) == "w0 w1 w2 w3 "
        assert answer.body.endswith(sse.DONE)
        assert here.outcome("ok") == 1


@pytest.mark.parametrize("before", [b"", EVENT])
@pytest.mark.parametrize("event", error_events(BAD))
async def test_the_clients_own_fault_inside_a_200(before: bytes, event: bytes) -> None:
    async with world(idle_other=True) as here:
        here.first.raw_answer = raw(b"text/event-stream", before, event, sse.DONE)
        answer = await here.ask(stream=True, seed=None)
        assert answer.body == before + event
        assert here.outcome("engine_rejected") == 1
        assert here.breaker is BreakerState.CLOSED
        assert here.other.received == []


async def test_an_engine_that_is_busy_says_so_inside_a_200() -> None:
    async with world(idle_other=True) as here:
        here.first.raw_answer = raw(b"text/event-stream", sse.encode({"error": BUSY}))
        assert (await here.ask(stream=True)).body.endswith(sse.DONE)
        assert here.breaker is BreakerState.CLOSED


@pytest.mark.parametrize("wire", [b"", b": ping", b"data: {", sse.DONE[:5]])
async def test_a_stream_that_ends_before_its_first_event_is_asked_for_elsewhere(wire: bytes) -> None:
    async with world(idle_other=True) as here:
        here.first.raw_answer = raw(b"text/event-stream", wire)
        answer = await here.ask(stream=True)
        assert answer.body.endswith(sse.DONE)
        assert len(here.other.received) == 1
