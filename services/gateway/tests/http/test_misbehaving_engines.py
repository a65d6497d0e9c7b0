"""Engines and clients that misbehave at every byte and in every field, observed by a client that sees every byte.

The invariants: an exchange has one HTTP head; each character of the answer arrives once and in order; [DONE] comes at
most once, and exactly once if the answer is complete; the connection then serves another request or is closed.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import orjson
import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_contract import sse
from llm_contract.testing import Received, Script, ScriptedEngine
from llm_contract.testing.script import text
from llm_gateway.testing import RawAnswer, RunningGateway, raw_post

COMPLETION, CHAT = "/v1/completions", "/v1/chat/completions"
ANY_NUMBER = {"reserve": 1e9}
NEVER_OPEN = {"consecutive_failures": 10**9, "min_requests": 10**9}
TOKENS = 6
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
JSON_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
JSON_VALUES: list[Any] = [
    *(
        None,
        True,
        0,
        -1,
        2**64 - 1,
        1.5,
        "",
        "10",
        "\x00é\u2028",
        [],
        [None],
        [1, "a"],
        {},
        {"a": None},
        {"message": "no"},
    ),
]
ODD_TEXT = [b"NaN", b"1e999", b'"\\ud800"', b"123456789012345678901234567890", b'"\xff"', b"", b"{", b"nul"]
"""Values that are no JSON, or that Python and orjson read differently."""

Fault = tuple[bytes, ...]
"""Bytes on the wire, then its end."""


class Faulty(ScriptedEngine):
    """An engine that answers with the next of the shared `faults`, and correctly after the last."""

    def __init__(self, faults: deque[Fault], script: Script | None = None) -> None:
        super().__init__(script)
        self.faults = faults

    async def _respond(self, request: web.Request, record: Received) -> web.StreamResponse:
        if self.faults:
            return await self._raw(request, self.faults.popleft())
        return await super()._respond(request, record)


class World:
    """A gateway between raw clients and two faulty engines."""

    def __init__(self, gateway: RunningGateway, faults: deque[Fault], engines: tuple[Faulty, Faulty]) -> None:
        self.gateway = gateway
        self.faults = faults
        self.engines = engines

    async def ask(self, path: str, *faults: Fault, **more: Any) -> RawAnswer:
        """Return the answer to a request of `TOKENS` tokens whose first attempts meet `faults`: one HTTP answer."""
        self.faults.extend(faults)
        asked = {"max_tokens": TOKENS, "stream": True, "temperature": 0, **prompt(path), **more}
        answer = await raw_post(self.gateway.url, path, asked)
        self.faults.clear()
        assert answer.heads == 1, answer
        assert b"HTTP/1." not in answer.body
        assert self.gateway.in_flight == 0
        return answer

    def failures(self) -> float:
        """Return the number of exchanges that count as failures of the engines."""
        names = [engine.name for engine in self.gateway.parts.pool.engines]
        phases = ("connect", "headers", "body", "answer")
        sample = self.gateway.sample
        return sum(sample("gateway_engine_failures_total", engine=name, phase=one) for name in names for one in phases)


def prompt(path: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": "x"}]} if path == CHAT else {"prompt": "x"}


@asynccontextmanager
async def world(script: Script | None = None, **more: Any) -> AsyncIterator[World]:
    faults: deque[Fault] = deque()
    lenient = {"breaker": NEVER_OPEN, "retry_budget": ANY_NUMBER, "progress_timeout": 0, **more}
    async with (
        Faulty(faults, script) as one,
        Faulty(faults, script) as other,
        RunningGateway(one.url, other.url, **lenient) as gateway,
    ):
        yield World(gateway, faults, (one, other))
        assert gateway.sample("gateway_requests_total", **{"class": "standard", "outcome": "internal_error"}) == 0
        assert gateway.sample("gateway_requests_total", **{"class": "standard", "outcome": "internal"}) == 0


def events_of(answer: RawAnswer) -> list[Any]:
    """Read a stream as a client does. It must have one [DONE], as its last event."""
    found = list(sse.Decoder().feed(answer.body))
    assert sse.DONE_DATA not in found[:-1], found
    return [data if data == sse.DONE_DATA else orjson.loads(data) for data in found]


def content(events: list[Any]) -> str:
    choices = [choice for event in events if isinstance(event, dict) for choice in event.get("choices") or ()]
    return "".join(choice["delta"].get("content") or "" if "delta" in choice else choice["text"] for choice in choices)


def assert_whole(answer: RawAnswer, tokens: int = TOKENS) -> None:
    events = events_of(answer)
    assert (answer.status, answer.complete, answer.kept) == (200, True, True)
    assert content(events) == text(0, tokens)
    assert events[-1] == sse.DONE_DATA
    reasons = [choice["finish_reason"] for event in events[:-1] for choice in event["choices"]]
    assert [reason for reason in reasons if reason] == ["length"]


def chunked(*events: bytes) -> bytes:
    return HEAD + b"".join(b"%x\r\n%b\r\n" % (len(event), event) for event in events) + b"0\r\n\r\n"


async def recorded(path: str, script: Script, **more: Any) -> list[bytes]:
    """Return the events of a correct answer, as an engine writes them."""
    async with ScriptedEngine(script) as engine:
        asked = {"max_tokens": TOKENS, "stream": True, **prompt(path), **more}
        answer = await raw_post(engine.url, path, asked)
    return [event + b"\n\n" for event in answer.body.split(b"\n\n")[:-1]]


# --- at every byte ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [COMPLETION, CHAT])
@pytest.mark.parametrize("sizes", [(1,), (2, 1, 3)])
async def test_an_engine_that_dies_at_any_byte_costs_and_adds_no_token(path: str, sizes: tuple[int, ...]) -> None:
    script = Script(tokens_per_chunk=sizes)
    wire = chunked(*await recorded(path, script))
    async with world(script) as here:
        for end in range(0, len(wire) + 1, 5 if sizes == (1,) or path == CHAT else 1):
            assert_whole(await here.ask(path, (wire[:end],)))
        for end in range(0, len(wire), 17):
            assert_whole(await here.ask(path, (wire[:end],), (wire[: min(end, len(HEAD) + 40)],)))


@pytest.mark.parametrize("path", [COMPLETION, CHAT])
@pytest.mark.parametrize("more", [{}, {"max_tokens": "10"}, {"seed": 3, "temperature": 1}])
async def test_a_stream_that_cannot_be_resumed_ends_in_an_error_event(path: str, more: dict[str, Any]) -> None:
    wire = chunked(*await recorded(path, Script()))
    async with world(resume=bool(more), max_attempts=1) as here:
        for end in range(0, len(wire), 11):
            answer = await here.ask(path, (wire[:end],), **more)
            assert answer.complete
            assert answer.kept
            if answer.status == 200:
                events = events_of(answer)
                assert text(0, TOKENS).startswith(content(events[:-1]))
                assert events[-1] == sse.DONE_DATA or events[-1]["error"]["code"] == "engine_failed"
            else:
                assert answer.status == 502
                assert b"}\n\n" not in wire[:end]


async def test_an_event_is_passed_on_when_it_is_whole_and_not_before() -> None:
    events = await recorded(COMPLETION, Script())
    halves = [half for event in events for half in (event[:20], event[20:])]
    pieces = [HEAD, *(b"%x\r\n%b\r\n" % (len(half), half) for half in halves if half), b"0\r\n\r\n"]
    async with world() as here:
        for engine in here.engines:
            engine.chunk_gate.close()
        task = asyncio.create_task(here.ask(COMPLETION, tuple(pieces)))
        await here.gateway.until(lambda _: any(engine.received for engine in here.engines))
        engine = next(engine for engine in here.engines if engine.received)
        for _ in pieces:
            await engine.until(lambda: engine.chunk_gate.parked == 1)
            engine.chunk_gate.release(1)
        answer = await asyncio.wait_for(task, 30.0)
    assert answer.body == b"".join(events)


# --- in every way to write a stream -----------------------------------------------------------------------------------

WRITTEN = [
    sse.encode({"id": "c", "choices": [{"index": 0, "delta": delta, "finish_reason": None}]})
    for delta in ({"role": "assistant", "content": ""}, *({"content": text(number, 1)} for number in range(TOKENS)))
]
BETWEEN = st.sampled_from([b"", b"", b": ping\n\n", b"\n", b":\r\n\r\n", b"id: 7\n", b"retry: 5\n\n", b"event: x\n"])
AFTER_DONE = st.sampled_from([b"", b": bye\n\n", sse.DONE, b"data: [DONE]", b'data: {"choices": []}\n\n', b"\xff\x00"])
ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.Runner]:
    """Provide one loop for all examples of a property."""
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(scope="module")
def here(loop: asyncio.Runner) -> Iterator[World]:
    entered = world()
    yield loop.run(entered.__aenter__())
    loop.run(entered.__aexit__(None, None, None))


@settings(max_examples=120, deadline=None)
@given(
    between=st.lists(BETWEEN, min_size=20, max_size=20),
    end=ENDS,
    done=st.sampled_from([b"data: [DONE]", b"data:[DONE]", b"data: [DONE] "]),
    after=AFTER_DONE,
    cuts=st.lists(st.integers(1, 900), max_size=6),
    cut_short=st.booleans(),
)
def test_any_way_to_write_a_stream_is_read(
    loop: asyncio.Runner,
    here: World,
    between: list[bytes],
    end: bytes,
    done: bytes,
    after: bytes,
    cuts: list[int],
    *,
    cut_short: bool,
) -> None:
    events = [piece + event for event, piece in zip(WRITTEN, between, strict=False)]
    body = (b"".join(events) + done).replace(b"\n", end) + (b"" if cut_short and not after else end * 2 + after)
    body = body.replace(b"w1", "é€😀".encode())
    edges = sorted({0, len(body), *(cut % len(body) for cut in cuts)})
    asked = sum(len(engine.received) for engine in here.engines)
    answer = loop.run(here.ask(CHAT, (chunked(*(body[start:stop] for start, stop in pairwise(edges))),)))
    found = events_of(answer)
    assert content(found) == text(0, TOKENS).replace("w1", "é€😀")
    assert found[-1] == sse.DONE_DATA
    assert answer.kept
    assert sum(len(engine.received) for engine in here.engines) == asked + 1, "a whole answer is not asked for twice"
    assert here.failures() == 0


HEADS = [
    b"HTTP/1.1 200 OK\r\n" * 2 + b"\r\n",
    HEAD * 2,
    HEAD + b"zz\r\n",
    HEAD + b"5\r\nabc",
    HEAD + b"0\r\n\r\n",
    JSON_HEAD + b"content-length: 5\r\ncontent-length: 6\r\n\r\n{}   ",
    JSON_HEAD + b"content-length: 50\r\n\r\n{}",
    JSON_HEAD + b"content-length: 2\r\n\r\n{}HTTP/1.1 500 X\r\n\r\n",
    JSON_HEAD + b"content-length: -1\r\n\r\n{}",
    JSON_HEAD + b"content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    JSON_HEAD + b"\r\n{}",
    b"HTTP/1.1 200\r\ncontent-length: 2\r\n\r\n{}",
    b"HTTP/1.0 200 OK\r\n\r\n{}",
    b"HTTP/1.1 200 OK\r\ncontent-type: a\x00b\xff\r\ncontent-length: 2\r\n\r\n{}",
    b"HTTP/1.1 200 OK\r\ncontent-type: \xe9\xff text\r\ncontent-length: 2\r\n\r\n{}",
    b"HTTP/1.1 200 OK\r\ncontent-type:\r\ncontent-length: 2\r\n\r\n{}",
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; x=\xe9\r\n\r\n" + sse.DONE,
    b"HTTP/1.1 200 OK\r\nx: a\r\n b\r\ncontent-length: 2\r\n\r\n{}",
    b"HTTP/1.1 100 Continue\r\n\r\n" * 3,
    b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
    *(b"HTTP/1.1 %d X\r\ncontent-length: 2\r\n\r\n{}" % status for status in (204, 205, 301, 304, 400, 599, 999)),
    b"HTTP/1.1 000 X\r\ncontent-length: 2\r\n\r\n{}",
    b"HTTP/9.9 200 OK\r\n\r\n{}",
    b"\r\n\r\n",
    b"SSH-2.0-x\r\n",
    b"\x16\x03\x01\x02\x00",
    b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 20000,
]


@pytest.mark.parametrize("replayed", [False, True])
async def test_odd_heads_and_lengths(*, replayed: bool) -> None:
    """The client gets exactly one whole answer: another engine's, this engine's, or a 502."""
    async with world(max_attempts=2 if replayed else 1) as here:
        for head in HEADS:
            answer = await here.ask(COMPLETION, (head,))
            assert answer.complete, head
            assert 200 <= answer.status < 1000
            if answer.body.startswith(b"data: "):
                events_of(answer)


# --- in every field ---------------------------------------------------------------------------------------------------


def replaced(event: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    changed = dict(event) if isinstance(event, dict) else list(event)
    changed[path[0]] = replaced(changed[path[0]] if path[1:] else None, path[1:], value)
    return changed


FIELDS: list[tuple[Any, ...]] = [
    *((name,) for name in ("id", "object", "created", "model", "choices", "usage", "error", "of_next_year")),
    *(("choices", 0), ("choices", 0, "index"), ("choices", 0, "finish_reason"), ("choices", 0, "logprobs")),
    *(("choices", 0, "delta"), ("choices", 0, "text"), ("usage",)),
    *(("choices", 0, "delta", name) for name in ("role", "content", "reasoning_content", "tool_calls")),
]
USAGE_FIELDS = [("usage",), ("usage", "prompt_tokens"), ("usage", "completion_tokens"), ("usage", "total_tokens")]


@pytest.mark.parametrize("cut", [False, True])
async def test_any_value_in_any_field_of_an_event(*, cut: bool) -> None:
    """The stream continues or fails as one answer. If it is cut, it is resumed or ends in an error."""
    events = await recorded(CHAT, Script(), stream_options={"include_usage": True})
    async with world(max_attempts=2) as here:
        for number, fields in ((0, FIELDS[:3]), (2, FIELDS), (len(events) - 2, USAGE_FIELDS)):
            for field in fields:
                for value in JSON_VALUES:
                    event = sse.encode(replaced(orjson.loads(events[number][6:]), field, value))
                    wire = chunked(*events[:number], event, *([] if cut else events[number + 1 :]))
                    answer = await here.ask(CHAT, (wire,))
                    assert answer.complete, (field, value)
                    found = [] if answer.status != 200 else events_of(answer)
                    if found and found[-1] != sse.DONE_DATA:
                        assert found[-1]["error"], (field, value)


@pytest.mark.parametrize("path", [COMPLETION, CHAT])
async def test_values_that_are_no_json(path: str) -> None:
    events = await recorded(path, Script())
    async with world() as here:
        for value in ODD_TEXT:
            for event in (b'{"usage": %b}' % value, b'{"choices": [{"text": %b}]}' % value, value):
                for rest in (events[3:], []):
                    answer = await here.ask(path, (chunked(*events[:3], b"data: " + event + b"\n\n", *rest),))
                    assert answer.complete
            answer = await here.ask(path, (JSON_HEAD + b"\r\n" + b'{"usage": %b}' % value,), stream=False)
            assert answer.complete


REQUEST_FIELDS = ["max_tokens", "max_completion_tokens", "stream", "stream_options", "temperature", "prompt"]
REQUEST_FIELDS += ["messages", "model", "stop", "n", "seed", "priority", "user", "top_p", "logprobs", "tools"]


async def test_any_value_in_any_field_of_a_request_whose_engine_dies() -> None:
    wire = chunked(*(await recorded(COMPLETION, Script()))[:3])[:-5]
    async with world(max_queue=1000) as here:
        for path in (COMPLETION, CHAT):
            for field in REQUEST_FIELDS:
                for value in JSON_VALUES:
                    answer = await here.ask(path, (wire,), **{field: value})
                    assert answer.complete, (path, field, value)
                    assert answer.status in (200, 400, 404), (path, field, value, answer)
                    if answer.status == 200:
                        assert content(events_of(answer)).startswith("w0 w1 w2 ")


# --- and when the gateway itself is wrong -----------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["relay", "resume", "ledger"])
async def test_a_defect_after_the_first_byte_ends_the_answer_and_the_connection(
    place: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("a defect")

    wire = chunked(*await recorded(COMPLETION, Script()))
    async with ScriptedEngine() as engine, RunningGateway(engine.url) as gateway:
        if place == "ledger":
            monkeypatch.setattr(gateway.parts.proxy._ledger, "close", broken)
        else:
            defects = {
                "relay": "llm_proxy.stream.relay.Relay.finish",
                "resume": "llm_proxy.stream.streaming.continuation",
            }
            monkeypatch.setattr(defects[place], broken)
            engine.raw_answer = (wire[:-60],)
        asked = {"prompt": "x", "stream": True, "max_tokens": TOKENS}
        answer = await raw_post(gateway.url, COMPLETION, asked)
        assert (answer.heads, answer.status, answer.kept) == (1, 200, False)
        assert answer.body.count(b"HTTP/1.") == 0
        assert gateway.in_flight == 0
        assert "a defect" in caplog.text
        if place != "ledger":
            assert orjson.loads(list(sse.Decoder().feed(answer.body))[-1])["error"]["code"] == "internal_error"
            assert gateway.sample("gateway_requests_total", **{"class": "standard", "outcome": "internal"}) == 1
