"""Helpers of the tests in this folder, as fixtures: a test takes those that it needs."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web

import llm_bench.__main__  # noqa: F401  # what the processes below run
from llm_bench.results.result import Result, read_result
from llm_contract import sse

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


FIXED = {"kind": "fixed", "tokens": 9}


PATIENCE = 120
"""Seconds for a process, most of which a busy machine spends on its imports."""


ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "corpus.txt"
    path.write_text("def fibonacci(n):\n    return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)\n")
    return path


@pytest.fixture
def scenario(tmp_path: Path) -> Callable[..., Path]:
    """`scenario(rate=…, duration=…, classes=[…])`: every request 9 tokens in, 9 tokens out."""

    def write(*, rate: float, duration: float, classes: tuple[str, ...] = ("interactive",), **more: Any) -> Path:
        kind = {"weight": 1, "prompt_tokens": FIXED, "output_tokens": more.pop("output", FIXED), "slo": {"ttft": 1.0}}
        kind |= {"turns": more.pop("turns", None)}
        values = {
            "name": "test",
            "duration": duration,
            "arrivals": {"kind": "constant", "rate": rate},
            "classes": dict.fromkeys(classes, kind),
            **more,
        }
        path = tmp_path / "scenario.yaml"
        path.write_text(yaml.safe_dump(values))
        return path

    return write


async def start(*arguments: str | Path) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "llm_bench", *map(str, arguments), env=ENVIRONMENT,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip


async def bench(*arguments: str | Path) -> tuple[int, str, str]:
    """(exit status, stdout, stderr)"""
    process = await start(*arguments)
    try:
        out, err = await asyncio.wait_for(process.communicate(), PATIENCE)
    finally:
        if process.returncode is None:
            process.kill()
    return process.returncode or 0, out.decode(), err.decode()


async def run_bench(scenario: Path, url: str, corpus: Path, out: Path, *more: str) -> Result:
    status, _, errors = await bench(
        "run", scenario, "--target", url, "--corpus", corpus, "--out", out, "--quiet", *more
    )
    assert status == 0, errors
    return read_result(out)


def of_the_target(result: Result) -> list[str]:
    """Why it is not valid, but for what a busy machine does to the client."""
    return [one for one in result.verdict.reasons if not one.startswith(("the client", "requests went out"))]


@asynccontextmanager
async def serving(generate: Handler, metrics: Handler | None = None) -> AsyncIterator[str]:
    """A server that lists one model and answers completions with `generate`; yields its URL."""

    async def models(_: web.Request) -> web.Response:
        return web.json_response({"data": [{"id": "m"}]})

    app = web.Application()
    app.router.add_get("/v1/models", models)
    app.router.add_post("/v1/completions", generate)
    if metrics:
        app.router.add_get("/metrics", metrics)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


async def three_tokens(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"content-type": sse.CONTENT_TYPE})
    await response.prepare(request)
    for word in ("one", "two", "three"):
        await response.write(sse.encode({"choices": [{"index": 0, "text": word}]}))
    await response.write(sse.DONE)
    return response


@pytest.fixture(name="Handler")
def _handler_fixture() -> Any:
    return Handler


@pytest.fixture(name="fixed")
def _fixed_fixture() -> Any:
    return FIXED


@pytest.fixture(name="patience")
def _patience_fixture() -> Any:
    return PATIENCE


@pytest.fixture(name="environment")
def _environment_fixture() -> Any:
    return ENVIRONMENT


@pytest.fixture(name="start")
def _start_fixture() -> Any:
    return start


@pytest.fixture(name="bench")
def _bench_fixture() -> Any:
    return bench


@pytest.fixture(name="run_bench")
def _run_bench_fixture() -> Any:
    return run_bench


@pytest.fixture(name="of_the_target")
def _of_the_target_fixture() -> Any:
    return of_the_target


@pytest.fixture(name="serving")
def _serving_fixture() -> Any:
    return serving


@pytest.fixture(name="three_tokens")
def _three_tokens_fixture() -> Any:
    return three_tokens
