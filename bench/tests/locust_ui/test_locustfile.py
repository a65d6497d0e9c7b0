"""`locust -f bench/locustfile.py` in processes of its own: alone, as master and workers, with its web UI."""

import asyncio
import os
import re
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from llm_contract.testing import Script, ScriptedEngine

LOCUSTFILE = Path(__file__).parents[2] / "locustfile.py"
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
SCRIPT = Script(ttft=0.05, gaps=(0.03,), tokens_per_chunk=(1, 3))
"""9 tokens in chunks of 1, 3, 1, 3, 1: TPOT 120 ms / 8."""
PATIENCE = 60.0


@pytest.fixture
def options(tmp_path: Path) -> tuple[str, ...]:
    """A second of 20 requests, half of each class."""
    fixed = {"kind": "fixed", "tokens": 9}
    kind = {"weight": 1, "prompt_tokens": fixed, "output_tokens": fixed}
    arrivals = {"kind": "constant", "rate": 20}
    values = {"name": "s", "duration": 1, "arrivals": arrivals, "classes": {"chat": kind, "batch": kind}}
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(values))
    (tmp_path / "corpus.txt").write_text("words and words\n" * 20)
    return ("--scenario", str(tmp_path / "s.yaml"), "--corpus", str(tmp_path / "corpus.txt"))


@asynccontextmanager
async def locust(*arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """The program, until the block ends."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), *arguments, env=ENVIRONMENT,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        await asyncio.wait_for(process.communicate(), PATIENCE)


async def finish(process: asyncio.subprocess.Process) -> tuple[int, str]:
    """(exit status, what it printed)"""
    out, _ = await asyncio.wait_for(process.communicate(), PATIENCE)
    return process.returncode or 0, out.decode()


def rows(printed: str) -> dict[tuple[str, str], list[float]]:
    """(class, metric) to count, mean, P50, P90, P99, P99.9, max, from the table at the end."""
    table = printed.rpartition("P99.9")[2]
    lines = [line.split() for line in table.splitlines() if re.match(r"(chat|batch) +(TTFT|TPOT|ITL) ", line)]
    return {(name, metric): [float(value) for value in values] for name, metric, *values in lines}


def check(found: dict[tuple[str, str], list[float]]) -> None:
    """Against the script: ITL has 8 values a request, gaps of 30, 10, 10, 10 ms in turn."""
    assert set(found) == {(name, metric) for name in ("chat", "batch") for metric in ("TTFT", "TPOT", "ITL")}
    for name in ("chat", "batch"):
        assert [found[name, metric][0] for metric in ("TTFT", "TPOT")] == [10, 10]
        assert 50 <= found[name, "ITL"][0] <= 80  # a busy machine reads some chunks together
        assert found[name, "TTFT"][2] == pytest.approx(50, abs=15)
        assert found[name, "TPOT"][2] == pytest.approx(120 / 8, abs=1)
        assert found[name, "ITL"][1] == pytest.approx(120 / 8, abs=1)
        assert found[name, "ITL"][2] == pytest.approx(10, abs=2)
    assert any(value != round(value) for value in found["chat", "ITL"])  # not locust's two digits


async def test_alone_it_sends_the_schedule_and_ends(options: tuple[str, ...]) -> None:
    async with (
        ScriptedEngine(SCRIPT) as engine,
        locust("--headless", "--host", engine.url, *options) as process,
    ):
        status, printed = await finish(process)

    assert status == 0, printed
    assert len(engine.received) == 20
    check(rows(printed))
    assert re.search(r"Aggregated +20 +0\(0\.00%\)", printed)  # whole requests only


async def test_workers_share_one_schedule(options: tuple[str, ...]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    async with ScriptedEngine(SCRIPT) as engine, AsyncExitStack() as stack:
        master = await stack.enter_async_context(
            locust("--headless", "--host", engine.url, "--master", "--master-bind-host", "127.0.0.1",
                   "--master-bind-port", port, "--expect-workers", "2", *options)
        )  # fmt: skip
        for _ in range(2):
            await stack.enter_async_context(locust("--worker", "--master-port", port))
        status, printed = await finish(master)

    assert status == 0, printed
    assert len(engine.received) == 20
    assert len({request.body["prompt"] for request in engine.received}) == 20
    check(rows(printed))


async def test_a_target_that_is_down_is_told_and_fails_the_run(options: tuple[str, ...]) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound but not listening: connections are refused
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        async with locust("--headless", "--host", url, *options) as process:
            status, printed = await finish(process)

    assert status == 1
    assert f"nothing answers at {url}" in printed
    assert "Traceback" not in printed


async def test_the_web_ui_has_a_tab_with_table_charts_and_csv_and_starts_again(options: tuple[str, ...]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ui = f"http://127.0.0.1:{port}"
    async with (
        ScriptedEngine(SCRIPT) as engine,
        locust("--host", engine.url, "--web-host", "127.0.0.1", "--web-port", str(port), *options),
        aiohttp.ClientSession() as session,
    ):
        page = await until_it_answers(session, ui)
        for test in (1, 2):
            async with session.post(f"{ui}/swarm", data={"host": engine.url, "rate": ""}) as answer:
                assert (await answer.json())["success"]
            await engine.until(lambda test=test: len(engine.received) == 20 * test, timeout=PATIENCE)
            stats = await until_stopped(session, ui)
        charts = await text(session, f"{ui}/llm-bench/charts")
        csv = await text(session, f"{ui}/llm-bench/csv")
        script = await text(session, f"{ui}/llm-bench/panel.js")

    assert "extended_tabs" in page
    assert 'src="./llm-bench/panel.js"' in page
    (extended,) = stats["extended_stats"]
    assert [(row["name"], row["metric"]) for row in extended["data"]] == [
        (name, metric) for name in ("batch", "chat") for metric in ("TTFT", "TPOT", "ITL")
    ]
    assert {row["count"] for row in extended["data"] if row["metric"] != "ITL"} == {10}
    assert charts.count("<svg") in (0, 3)  # none before the first look, two seconds into a test
    assert csv.splitlines()[0] == "name,metric,count,mean,p50,p90,p99,p999,max"
    assert len(csv.splitlines()) == 7
    assert "llm-bench" in script


async def text(session: aiohttp.ClientSession, url: str) -> str:
    async with session.get(url) as answer:
        assert answer.status == 200
        return await answer.text()


async def until_it_answers(session: aiohttp.ClientSession, url: str) -> str:
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                return await text(session, url)
            except aiohttp.ClientConnectionError:
                await asyncio.sleep(0.1)


async def until_stopped(session: aiohttp.ClientSession, url: str) -> Any:
    """Locust's statistics when the test is over; it answers from a cache for a while."""
    async with asyncio.timeout(PATIENCE):
        while True:
            async with session.get(f"{url}/stats/requests") as answer:
                stats = await answer.json()
            rows = stats["extended_stats"][0]["data"]
            if stats["state"] == "stopped" and sum(row["count"] for row in rows if row["metric"] == "TTFT") == 20:
                return stats
            await asyncio.sleep(0.1)
