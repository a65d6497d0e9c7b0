"""Large amounts of reproducible hostile input: no 500, no hang, and no leak.

Bodies and streams are valid ones with defects: flipped, removed, doubled or inserted bytes, and values of the wrong
type. schemathesis checks the promises of the OpenAPI document in test_fuzz_openapi.py.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import orjson
import psutil

from llm_contract import sse
from llm_contract.testing import ScriptedEngine
from llm_gateway.testing import RunningGateway

BODIES = 8000
STREAMS = 2000
WORKERS = 16
ANSWER_SECONDS = 20.0
"""Longer than any answer takes on a busy machine: past this it hangs."""

EXPECTED = {200, 400, 404, 413, 429}
VALID_BODIES: list[dict[str, Any]] = [
    {"model": "scripted", "prompt": "hello", "max_tokens": 4, "temperature": 0.5, "priority": 1},
    {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 3, "stream": False, "user": "né"},
    {"prompt": [1, 2, 3], "max_tokens": 2, "stream": True, "stream_options": {"include_usage": True}},
    {"messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}], "stream": True, "max_tokens": 2},
]
ODD_VALUES: list[Any] = [
    *(None, True, False, 0, -1, 2**31, 2**63 - 1, -(2**63), 1.5, 1e308, "", "interactive", "\x00", "\u2028" * 50),
    *([], {}, [[]], [None], {"a": {"b": []}}, "x" * 5000, list(range(3000))),
]
ODD_BYTES = [
    *(b"", b"null", b"{}", b"[]", b"{", b"\xff\xfe", b"\x00", b"NaN", b'{"prompt":', b"[" * 5000, b'{"a":' * 5000),
    *(
        b'{"prompt":"\\ud800"}',
        b'{"prompt":"x","prompt":"y"}',
        b'{"priority":1e999,"prompt":"x"}',
        b'\xef\xbb\xbf{"prompt":"x"}',
    ),
]
ODD_HEADERS: list[dict[str, str]] = [
    *(
        {},
        {},
        {},
        {"x-priority": "batch"},
        {"x-priority": "INTERACTIVE "},
        {"x-priority": "nobody"},
        {"x-priority": ""},
    ),
    *({"x-request-id": "é" * 200}, {"x-request-id": ""}, {"x-tenant": "t" * 1000}, {"x-deadline-ms": "-1"}),
    *({"x-slo-ttft-ms": "nan"}, {"traceparent": "00-zz"}, {"content-type": "text/plain"}, {"authorization": "Bearer"}),
]
NEVER_OPEN = {"consecutive_failures": 10**9, "min_requests": 10**9}
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
EVENTS = [sse.encode({"choices": [{"index": 0, "text": f"w{number} "}]}) for number in range(4)]


def mutate(source: random.Random, data: bytes) -> bytes:
    """Apply one to four random edits."""
    for _ in range(source.randint(1, 4)):
        start = source.randint(0, len(data))
        end = min(len(data), start + source.randint(0, 12))
        middle = source.choice([b"", data[start:end] * 2, source.randbytes(source.randint(1, 8)), b"\r\n\r\n", b'"'])
        data = data[:start] + middle + data[end:]
    return data


def hostile_body(source: random.Random) -> bytes:
    kind = source.random()
    if kind < 0.1:
        return source.choice(ODD_BYTES)
    body = dict(source.choice(VALID_BODIES))
    if kind < 0.5:
        for name in source.sample(sorted({*body, "priority", "n", "stop", "seed", "logprobs"}), k=2):
            body[name] = source.choice(ODD_VALUES)
        return orjson.dumps(body)
    return mutate(source, orjson.dumps(body))


def hostile_stream(source: random.Random) -> tuple[bytes, ...]:
    """Return a chunked event stream with defects in its head, chunks or events, cut into pieces at random."""
    events = b"".join((*EVENTS, sse.DONE))
    if source.random() < 0.3:
        events = mutate(source, events)
    whole = HEAD + b"%x\r\n%b\r\n0\r\n\r\n" % (len(events), events)
    if source.random() < 0.7:
        whole = mutate(source, whole)
    cuts = sorted(source.randint(0, len(whole)) for _ in range(source.randint(0, 3)))
    return tuple(whole[start:end] for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True) if end > start)


@asynccontextmanager
async def fuzzed(**settings: Any) -> AsyncIterator[tuple[ScriptedEngine, RunningGateway]]:
    """Check at the end that permits, queue, tasks and connections are as before."""
    tasks = len(asyncio.all_tasks())
    async with ScriptedEngine(keep_records=False) as engine:
        async with RunningGateway(engine.url, **settings) as gateway:
            yield engine, gateway
            await gateway.until(lambda it: it.in_flight == it.waiting == 0)
            assert gateway.sample("gateway_in_flight", engine=gateway.parts.pool.engines[0].name) == 0
        port = engine.port
    await eventually(lambda: open_connections(port) == 0)
    await eventually(lambda: len(asyncio.all_tasks()) <= tasks)


async def eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - sockets and tasks end without an event
            await asyncio.sleep(0.01)


def open_connections(port: int) -> int:
    """Return the connections of this process to that port."""
    found = psutil.Process().net_connections(kind="tcp")
    return sum(one.status == psutil.CONN_ESTABLISHED and bool(one.raddr) and one.raddr.port == port for one in found)


async def test_mutated_bodies() -> None:
    source = random.Random(20260701)
    cases = iter(range(BODIES))
    seen: set[int] = set()
    async with fuzzed(max_queue=1000) as (_, gateway), aiohttp.ClientSession() as client:

        async def worker() -> None:
            for number in cases:
                body, headers = hostile_body(source), source.choice(ODD_HEADERS)
                path = source.choice(("/v1/completions", "/v1/chat/completions"))
                async with asyncio.timeout(ANSWER_SECONDS):
                    async with client.post(gateway.url + path, data=body, headers=headers) as response:
                        answer = await response.read()
                        seen.add(response.status)
                        assert response.status in EXPECTED, (number, path, headers, body[:300], answer[:300])
                        if response.status >= 400:
                            assert orjson.loads(answer)["error"]["message"]

        await asyncio.gather(*(worker() for _ in range(WORKERS)))
    assert {200, 400, 404} <= seen


async def test_mutated_streams_and_clients_that_hang_up() -> None:
    source = random.Random(20260702)
    seen: set[int] = set()
    async with fuzzed(max_attempts=1, breaker=NEVER_OPEN) as (engine, gateway), aiohttp.ClientSession() as client:
        body = {"prompt": "hello", "stream": True}
        for number in range(STREAMS):
            engine.raw_answer = hostile_stream(source)
            patience = source.choice((None, 0, 40))
            try:
                async with asyncio.timeout(ANSWER_SECONDS):
                    async with client.post(f"{gateway.url}/v1/completions", json=body) as response:
                        seen.add(response.status)
                        # A mutated status line may be any error; it is the engine's, and passed on.
                        assert response.status != 500 or b"500" in engine.raw_answer[0], (number, engine.raw_answer)
                        answer = await response.content.read(-1 if patience is None else patience)
            except TimeoutError:
                raise AssertionError(f"stream {number} hangs: {engine.raw_answer!r}") from None
            if patience is None and response.content_type == "text/event-stream" and answer:
                assert answer.endswith((b"\n\n", b"\r\n\r\n", b"\r\r")), (number, engine.raw_answer, answer)
        engine.raw_answer = None
        async with client.post(f"{gateway.url}/v1/completions", json=body) as response:
            assert (await response.read()).endswith(sse.DONE)
    assert {200, 502} <= seen
