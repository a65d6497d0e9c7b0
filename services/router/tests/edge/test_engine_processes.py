"""Engines as processes, killed and stopped under load: nothing is lost, and no character comes twice."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import orjson
import pytest

from llm_contract import sse
from llm_contract.testing.script import text as words
from llm_router.testing import MODEL, RunningEdge

TOKENS = 40


@asynccontextmanager
async def processes(count: int) -> AsyncIterator[list[tuple[Process, str]]]:
    """Yield engines that take about half a second for an answer, as (process, URL)."""
    command = (sys.executable, "-m", "llm_contract.testing", "--port", "0", "--gaps", "0.012")
    started = [await asyncio.create_subprocess_exec(*command, stdout=PIPE) for _ in range(count)]
    try:
        lines = [await process.stdout.readline() for process in started if process.stdout is not None]
        yield list(zip(started, (line.decode().strip() for line in lines), strict=True))
    finally:
        for process in started:
            if process.returncode is None:
                process.kill()
            await process.wait()


async def stream(client: aiohttp.ClientSession, edge: RunningEdge) -> str:
    """Return the text of a stream, which must end with [DONE]."""
    body = {"model": MODEL, "prompt": "x", "max_tokens": TOKENS, "stream": True}
    async with client.post(edge.url + "/v1/completions", json=body) as response:
        raw = await response.read()
    events = list(sse.Decoder().feed(raw))
    assert events[-1] == sse.DONE_DATA, events[-1]
    return "".join(choice["text"] for event in events[:-1] for choice in orjson.loads(event)["choices"])


async def unary(client: aiohttp.ClientSession, edge: RunningEdge) -> str:
    body = {"model": MODEL, "prompt": "x", "max_tokens": TOKENS}
    async with client.post(edge.url + "/v1/completions", json=body) as response:
        answer: dict[str, Any] = await response.json()
        assert response.status == 200, answer
    text: str = answer["choices"][0]["text"]
    return text


@pytest.mark.parametrize(
    ("how", "cause"), [(signal.SIGKILL, ("connect", "reset")), (signal.SIGSTOP, ("progress", "health"))]
)
async def test_nothing_is_lost_when_an_engine_dies_or_stops(
    client: aiohttp.ClientSession, how: signal.Signals, cause: tuple[str, ...]
) -> None:
    async with (
        processes(3) as engines,
        RunningEdge(*(url for _, url in engines), model={"progress_timeout": 0.5, "policy": "least_loaded"}) as edge,
    ):
        await edge.until(lambda: all(engine.reports for engine in edge.engines.values()))
        asked = [asyncio.create_task((stream if number % 2 else unary)(client, edge)) for number in range(18)]
        await edge.until(lambda: edge.in_flight == 18)
        victim, _ = engines[0]
        os.kill(victim.pid, how)
        await edge.until(lambda: edge.engines["e0"].ejected)
        assert [await task for task in asked] == [words(0, TOKENS)] * 18
        causes = {one: edge.sample("router_ejections_total", model=MODEL, engine="e0", cause=one) for one in cause}
        assert sum(causes.values()) >= 1
        if how is signal.SIGSTOP:
            os.kill(victim.pid, signal.SIGCONT)
            await edge.until(lambda: not edge.engines["e0"].ejected, timeout=20)
        assert await unary(client, edge) == words(0, TOKENS)
