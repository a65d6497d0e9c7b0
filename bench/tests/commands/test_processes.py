"""A run seen from outside: workers, the terminal, API keys, disks that fill up."""

import asyncio
import contextlib
import os
import pty
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiohttp import web

import llm_bench.__main__  # noqa: F401  # what the processes below run
from llm_bench.results.result import Result, read_result
from llm_contract.testing import Script, ScriptedEngine


async def test_workers_share_one_schedule(
    scenario: Callable[..., Path], corpus: Path, tmp_path: Path, run_bench: Any
) -> None:
    """Conversations of two turns from three processes: every request once, at its time, all of a run's records."""
    path = scenario(
        rate=30, duration=1, arrivals={"kind": "poisson", "rate": 30}, turns={"count": {"kind": "fixed", "tokens": 2}}
    )
    async with ScriptedEngine(Script(ttft=0.02)) as engine:
        alone = await run_bench(path, engine.url, corpus, tmp_path / "alone", "--salt", "s")
        first = sorted(request.body["prompt"] for request in engine.received[1:])
        shared = await run_bench(path, engine.url, corpus, tmp_path / "shared", "--salt", "s", "--workers", "3")
        second = sorted(request.body["prompt"] for request in engine.received[len(first) + 2 :])

    def planned(result: Result) -> list[Any]:
        return [(r.index, r.follows, r.class_name, r.max_tokens) for r in result.requests]

    assert first == second
    assert planned(alone) == planned(shared)
    assert [r.outcome for r in shared.requests] == ["ok"] * 60
    roots = [(a, b) for a, b in zip(alone.requests, shared.requests, strict=True) if a.follows is None]
    assert all(a.scheduled_at == pytest.approx(b.scheduled_at) for a, b in roots)
    assert (shared.summary.classes["all"].schedule_lag.p50 or 1.0) < 0.05
    assert shared.run.loop_lag.count > 3 * 10


async def test_an_interrupt_ends_the_workers_and_writes_what_they_measured(
    scenario: Callable[..., Path], corpus: Path, tmp_path: Path, patience: Any, start: Any
) -> None:
    out = tmp_path / "out"
    async with ScriptedEngine(Script(ttft=0.05)) as engine:
        process = await start(
            "run", scenario(rate=20, duration=60), "--target", engine.url, "--corpus", corpus, "--out", out,
            "--workers", "2", "--quiet",
        )  # fmt: skip
        await engine.until(lambda: len(engine.received) >= 12, timeout=patience)
        process.send_signal(signal.SIGINT)
        await asyncio.wait_for(process.communicate(), patience)

    result = read_result(out)
    assert process.returncode == 130
    assert result.run.interrupted
    assert 5 <= result.summary.classes["all"].completed < 200
    assert len(result.requests) == 1200


@pytest.mark.parametrize("workers", [1, 2])
async def test_progress_has_live_percentiles(
    workers: int, scenario: Callable[..., Path], corpus: Path, tmp_path: Path, environment: Any, patience: Any
) -> None:
    """On a terminal: 100 ms to the first token, ten requests in flight at any time."""
    terminal, side = pty.openpty()
    async with ScriptedEngine(Script(ttft=0.1, gaps=(0.05,))) as engine:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "llm_bench", "run", str(scenario(rate=20, duration=2)), "--target", engine.url,
            "--corpus", str(corpus), "--out", str(tmp_path / "out"), "--workers", str(workers),
            env={**environment, "TERM": "xterm", "COLUMNS": "100"}, stdout=asyncio.subprocess.DEVNULL, stderr=side,
        )  # fmt: skip
        os.close(side)
        reading = asyncio.create_task(asyncio.to_thread(_read_terminal, terminal))
        assert await asyncio.wait_for(process.wait(), patience) == 0
        shown = await reading

    running = [line for line in re.findall(r"\d+ in flight, [^\r\n]*", shown) if not line.startswith("0 ")]
    first = [float(found) for found in re.findall(r"TTFT P50 (\d+) ms P99", " ".join(running))]
    assert first  # while it ran, not only at its end
    assert np.median(first) == pytest.approx(100, abs=30)
    assert any("TPOT P50" in line for line in running)
    assert "40/40" in shown


def _read_terminal(terminal: int) -> str:
    """Return everything that is written to the pipe until its last writer closes it."""
    shown = b""
    with contextlib.suppress(OSError), os.fdopen(terminal, "rb", buffering=0) as file:
        while data := file.read(65536):
            shown += data
    return shown.decode()


@pytest.mark.parametrize("workers", [1, 2])
async def test_an_api_key_goes_out_and_is_written_nowhere(
    workers: int,
    scenario: Callable[..., Path],
    corpus: Path,
    tmp_path: Path,
    environment: Any,
    patience: Any,
    three_tokens: Any,
) -> None:
    """The server repeats the key in its errors. Of two tenants one has a key of its own."""
    seen: dict[str, set[str | None]] = {}

    async def answer(request: web.Request) -> web.StreamResponse:
        key = request.headers.get("Authorization")
        seen.setdefault(f"{request.path} {request.headers.get('x-tenant', '-')}", set()).add(key)
        if request.path == "/v1/models":
            return web.json_response({"data": [{"id": "m"}]})
        if request.path != "/v1/completions":
            return web.Response(text="vllm:num_requests_running 1\n")
        if (await request.json())["max_tokens"] == 9:
            return web.json_response({"error": {"message": f"{key} is over its quota"}}, status=403)
        return await three_tokens(request)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    path = scenario(rate=20, duration=1, tenants={"acme": 1, "zeta": 1}, tenant_key_envs={"acme": "ACME_KEY"})
    keys = {"OURS": "sk-ours", "ACME_KEY": "sk-acme", "OPENAI_API_KEY": "sk-openai"}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "llm_bench", "run", str(path), "--target", url, "--corpus", str(corpus),
        "--out", str(tmp_path / "out"), "--api-key-env", "OURS", "--workers", str(workers),
        env={**environment, **keys}, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    printed = b"".join(await asyncio.wait_for(process.communicate(), patience))
    await runner.cleanup()

    assert seen == {
        "/v1/models -": {"Bearer sk-ours"},
        "/version -": {"Bearer sk-ours"},
        "/metrics -": {"Bearer sk-ours"},
        "/v1/completions acme": {"Bearer sk-acme"},
        "/v1/completions zeta": {"Bearer sk-ours"},
    }
    written = b"".join(file.read_bytes() for file in (tmp_path / "out").iterdir())
    assert not [key for key in keys.values() if key.encode() in written + printed]
    result = read_result(tmp_path / "out")
    assert result.run.api_key_env == "OURS"
    assert {record.detail for record in result.requests} == {"Bearer [API key] is over its quota"}


async def test_a_key_whose_variable_is_not_set_is_told_before_anything_is_sent(
    scenario: Callable[..., Path], corpus: Path, tmp_path: Path, bench: Any
) -> None:
    async with ScriptedEngine() as engine:
        status, _, errors = await bench(
            "run", scenario(rate=1, duration=1), "--target", engine.url, "--corpus", corpus, "--out", tmp_path / "out",
            "--api-key-env", "NO_SUCH_KEY",
        )  # fmt: skip

    assert (status, engine.received) == (1, [])
    assert "the environment variable NO_SUCH_KEY holds no API key: set it, or name another" in errors


async def test_a_disk_that_fills_up_while_it_is_written_keeps_what_it_takes(
    scenario: Callable[..., Path], corpus: Path, tmp_path: Path, environment: Any, patience: Any
) -> None:
    """Files may grow to 160 KB, which 40 requests of 1,000 chunks do not fit in with every chunk's time.

    The gaps keep chunks apart on a busy machine as well; a fifth of them would be enough.
    """
    path = scenario(rate=40, duration=1, output={"kind": "fixed", "tokens": 1000})
    async with ScriptedEngine(Script(gaps=(0.002,))) as engine:
        process = await asyncio.create_subprocess_exec(
            "sh", "-c", 'ulimit -f 320; trap "" XFSZ; exec "$@"', "sh", sys.executable, "-m", "llm_bench", "run",
            str(path), "--target", engine.url, "--corpus", str(corpus), "--out", str(tmp_path / "out"),
            env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, errors = await asyncio.wait_for(process.communicate(), patience)

    result = read_result(tmp_path / "out")
    assert process.returncode == 1
    assert result.partial is not None
    assert "without times of chunks after the first: File too large" in errors.decode()
    assert "partial, without times of chunks" in out.decode()
    assert result.summary.classes["all"].output_tokens == 40 * 1000
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["requests.csv", "result.json"]
