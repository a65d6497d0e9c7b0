"""Whole runs: the command line in a process of its own, against scripted servers with known timing."""

import asyncio
import contextlib
import os
import pty
import re
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
import yaml
from aiohttp import web
from prometheus_client import CollectorRegistry, Gauge, Histogram, generate_latest

import llm_bench.__main__  # noqa: F401  # what the processes below run
from llm_bench.cli import main
from llm_bench.results.result import Result, read_result
from llm_contract import sse
from llm_contract.testing import Script, ScriptedEngine

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


async def test_times_are_those_of_the_script(scenario: Callable[..., Path], corpus: Path, tmp_path: Path) -> None:
    """250 ms to the first token, then 400, 100, 400, 100 ms; chunks of 1, 3, 1, 3, 1 tokens."""
    script = Script(ttft=0.25, gaps=(0.4, 0.1), tokens_per_chunk=(1, 3))
    async with ScriptedEngine(script) as engine:
        result = await run_bench(scenario(rate=5, duration=1), engine.url, corpus, tmp_path / "out")

    figures = result.summary.classes["interactive"]
    assert (figures.requests, figures.completed, figures.output_tokens) == (5, 5, 45)
    assert 0.25 <= (figures.ttft_from_send.p50 or 0) < 0.28
    assert 0.25 <= (figures.ttft.p50 or 0) < 0.29
    assert figures.tpot.p50 == pytest.approx(1.0 / 8, abs=0.005)
    assert 1.25 <= (figures.e2e.p50 or 0) < 1.30
    for record in result.requests:
        assert np.diff(record.chunk_times) == pytest.approx([0.4, 0.1, 0.4, 0.1], abs=0.03)
        assert record.headers_at is not None
        assert record.sent_at is not None
        assert record.sent_at <= record.headers_at <= record.chunk_times[0]


async def test_a_slow_server_does_not_delay_later_sends(
    scenario: Callable[..., Path], corpus: Path, tmp_path: Path
) -> None:
    """One at a time, 0.2 s each, asked for 20 a second: the queue grows and every wait counts from the schedule."""
    async with ScriptedEngine(Script(ttft=0.2, max_running=1)) as engine:
        result = await run_bench(scenario(rate=20, duration=0.5), engine.url, corpus, tmp_path / "out")

    sent = [record.sent_at or 0.0 for record in result.requests]
    assert sent == pytest.approx([0.05 * index for index in range(10)], abs=0.1)
    assert result.summary.classes["interactive"].longest_wait == pytest.approx(10 * 0.2 - 9 * 0.05, abs=0.25)
    assert result.summary.classes["interactive"].slo_attainment == pytest.approx(6 / 10, abs=0.11)
    assert result.summary.classes["all"].completed == 10


async def test_prompts_classes_and_lengths_reach_the_server(
    scenario: Callable[..., Path], corpus: Path, tmp_path: Path
) -> None:
    async with ScriptedEngine() as engine:
        await run_bench(
            scenario(rate=20, duration=1, classes=("interactive", "batch")), engine.url, corpus, tmp_path / "out"
        )
        load = engine.received[1:]  # the first is the probe

    assert [request.headers["x-priority"] for request in load].count("batch") == 10
    assert len({request.body["prompt"] for request in load}) == 20
    assert {request.body["max_tokens"] for request in load} == {9}


async def test_two_runs_send_the_same_load_but_share_no_prompt(
    scenario: Callable[..., Path], corpus: Path, tmp_path: Path
) -> None:
    path = scenario(rate=20, duration=1, arrivals={"kind": "poisson", "rate": 20})
    async with ScriptedEngine() as engine:
        one = await run_bench(path, engine.url, corpus, tmp_path / "one")
        first = {request.body["prompt"] for request in engine.received[1:]}
        other = await run_bench(path, engine.url, corpus, tmp_path / "other")
        second = {request.body["prompt"] for request in engine.received[len(first) + 2 :]}

    assert [(r.scheduled_at, r.class_name, r.max_tokens) for r in one.requests] == [
        (r.scheduled_at, r.class_name, r.max_tokens) for r in other.requests
    ]
    assert len(first) == len(second) == 20
    assert not first & second


async def test_rejections_count_as_misses(scenario: Callable[..., Path], corpus: Path, tmp_path: Path) -> None:
    async def no_batch(request: web.Request) -> web.StreamResponse:
        if request.headers["x-priority"] == "batch":
            return web.json_response({"error": {"message": "the queue is full"}}, status=429)
        return await _three_tokens(request)

    async with serving(no_batch) as url:
        path = scenario(rate=20, duration=1, classes=("interactive", "batch"))
        result = await run_bench(path, url, corpus, tmp_path / "out")

    classes = result.summary.classes
    assert (classes["interactive"].slo_attainment, classes["batch"].slo_attainment) == (1.0, 0.0)
    assert (classes["batch"].rejected, classes["batch"].failed, classes["all"].slo_attainment) == (10, 0, 0.5)
    assert result.summary.errors == {"rejected": 10}
    assert next(r for r in result.requests if not r.ok).detail == "the queue is full"


async def test_streams_that_are_reset_are_errors_and_the_run_is_invalid(
    scenario: Callable[..., Path], corpus: Path, tmp_path: Path
) -> None:
    async with ScriptedEngine(Script(gaps=(0.01,))) as engine:
        engine.die_after_chunks = 3  # the probe asks for two tokens and gets through
        result = await run_bench(scenario(rate=10, duration=1), engine.url, corpus, tmp_path / "out")

    assert result.summary.errors == {"reset": 10}
    assert not result.verdict.valid
    assert "10 of 10 requests failed (10 reset); limit 1%" in result.verdict.reasons
    assert [sum(record.chunk_tokens) for record in result.requests] == [3] * 10


async def test_what_is_still_running_at_the_drain_limit_is_cut_off_and_written(
    scenario: Callable[..., Path], corpus: Path, tmp_path: Path
) -> None:
    async def hang_on_nine(request: web.Request) -> web.StreamResponse:
        if (await request.json())["max_tokens"] == 9:
            await asyncio.Event().wait()
        return await _three_tokens(request)

    async with serving(hang_on_nine) as url:
        result = await run_bench(scenario(rate=4, duration=1, drain=0.3), url, corpus, tmp_path / "out")

    assert result.summary.errors == {"incomplete": 4}
    assert "4 of 4 requests were still running at the drain limit" in result.verdict.reasons[0]
    assert result.summary.classes["all"].longest_wait == pytest.approx(1.05, abs=0.3)


async def test_an_interrupt_writes_what_was_measured(
    scenario: Callable[..., Path], corpus: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    async with ScriptedEngine(Script(ttft=0.05)) as engine:
        arguments = ("run", scenario(rate=20, duration=60), "--target", engine.url, "--corpus", corpus, "--out", out)
        process = await start(*arguments)
        await engine.until(lambda: len(engine.received) >= 10, timeout=PATIENCE)
        process.send_signal(signal.SIGINT)
        output, _ = await asyncio.wait_for(process.communicate(), PATIENCE)

    result = read_result(out)
    assert process.returncode == 130
    assert result.run.interrupted
    assert 5 <= result.summary.classes["all"].completed < 100
    assert len(result.requests) == 1200
    assert result.verdict.reasons[0].startswith("interrupted: ")
    assert b"INVALID" in output


async def test_a_target_that_fails_every_request_is_told_before_the_load(
    scenario: Callable[..., Path], corpus: Path, tmp_path: Path
) -> None:
    async with ScriptedEngine() as engine:
        engine.answer = (500, {"error": {"message": "out of memory"}})
        path = scenario(rate=100, duration=5)
        status, _, errors = await bench(
            "run", path, "--target", engine.url, "--corpus", corpus, "--out", tmp_path / "o"
        )

    assert status == 1
    assert "fails a first short request (http_500): out of memory" in errors
    assert len(engine.received) == 1


async def test_a_scenario_too_long_for_the_model_is_told_before_the_load(
    scenario: Callable[..., Path], corpus: Path, tmp_path: Path
) -> None:
    async with ScriptedEngine(Script(max_model_len=17)) as engine:
        path = scenario(rate=1, duration=1)
        status, _, errors = await bench(
            "run", path, "--target", engine.url, "--corpus", corpus, "--out", tmp_path / "o"
        )

    assert status == 1
    assert "may draw a request of 18 tokens, but scripted takes 17" in errors


async def test_capacity_finds_the_rate_of_a_target_with_eight_slots(
    scenario: Callable[..., Path], corpus: Path
) -> None:
    """An answer takes 20 ms + 8 x 20 ms = 180 ms: eight slots do 44 requests/s."""
    async with ScriptedEngine(Script(ttft=0.02, gaps=(0.02,), max_running=8)) as engine:
        path = scenario(rate=1, duration=1)
        status, out, errors = await bench(
            "capacity", path, "--target", engine.url, "--corpus", corpus, "--users", "12", "--duration", "3"
        )

    assert status == 0, errors
    capacity = orjson.loads(out)
    assert capacity["requests_per_second"] == pytest.approx(8 / 0.18, rel=0.12)
    assert capacity["output_tokens_per_second"] == pytest.approx(9 * capacity["requests_per_second"])
    assert capacity["failed"] == 0


async def test_capacity_says_so_if_the_target_is_faster_than_it_can_measure(
    scenario: Callable[..., Path], corpus: Path
) -> None:
    """It answers at once: 40 users are through with what was prepared long before two seconds are over."""
    async with ScriptedEngine() as engine:
        path = scenario(rate=1, duration=1, output={"kind": "fixed", "tokens": 1})
        status, _, errors = await bench(
            "capacity", path, "--target", engine.url, "--corpus", corpus, "--users", "40", "--duration", "2"
        )

    assert status == 1
    assert "was through with all 440 requests early: it does more than 200 a second" in errors


async def test_the_servers_metrics_are_beside_ours(scenario: Callable[..., Path], corpus: Path, tmp_path: Path) -> None:
    """A server that observes 120 ms where its clients wait 120 ms, and says how many requests it runs."""
    registry = CollectorRegistry()
    ttft = Histogram("vllm:time_to_first_token_seconds", "h", registry=registry, buckets=(0.06, 0.1, 0.25, 0.5))
    running = Gauge("vllm:num_requests_running", "h", registry=registry)

    async def generate(request: web.Request) -> web.StreamResponse:
        with running.track_inprogress():
            await asyncio.sleep(0.12)
            ttft.observe(0.12)
            return await _three_tokens(request)

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(registry))

    async with serving(generate, metrics) as url:
        result = await run_bench(scenario(rate=20, duration=2), url, corpus, tmp_path / "out")

    server = result.server
    assert server is not None
    assert len(server.times) >= 5
    assert max(server.series["running"]) >= 1
    assert [(one.metric, one.quantile, one.agrees) for one in server.agreement] == [
        ("TTFT", quantile, "same bucket") for quantile in (0.5, 0.9, 0.99)
    ]
    assert result.run.loop_lag.count > 20


async def test_a_target_without_metrics_is_measured_all_the_same(
    scenario: Callable[..., Path], corpus: Path, tmp_path: Path
) -> None:
    async with serving(_three_tokens) as url:
        result = await run_bench(scenario(rate=20, duration=0.5), url, corpus, tmp_path / "out")

    assert result.server is None
    assert not of_the_target(result)


async def test_turns_wait_for_the_answer_before(scenario: Callable[..., Path], corpus: Path, tmp_path: Path) -> None:
    """An answer takes 100 ms, thinking 200 ms."""
    path = scenario(rate=4, duration=1, api="chat", turns={"count": {"kind": "fixed", "tokens": 3}, "think": 0.2})
    async with ScriptedEngine(Script(ttft=0.1)) as engine:
        result = await run_bench(path, engine.url, corpus, tmp_path / "out")
        received = engine.received[1:]

    assert [record.follows for record in result.requests] == [None, 0, 1, None, 3, 4, None, 6, 7, None, 9, 10]
    for record in result.requests:
        if record.follows is not None:
            before = result.requests[record.follows]
            assert record.scheduled_at == pytest.approx((before.ended_at or 0.0) + 0.2)
            assert record.schedule_lag == pytest.approx(0.0, abs=0.05)
            assert (record.ttft or 0.0) < 0.2
    assert sorted(len(request.body["messages"]) for request in received) == [1] * 4 + [3] * 4 + [5] * 4
    assert len({request.headers["x-session-id"] for request in received}) == 4


async def test_a_turn_that_fails_ends_its_conversation(
    scenario: Callable[..., Path], corpus: Path, tmp_path: Path
) -> None:
    path = scenario(rate=4, duration=1, turns={"count": {"kind": "fixed", "tokens": 3}})
    async with ScriptedEngine() as engine:
        engine.die_after_chunks = 3  # the probe asks for two tokens and gets through
        result = await run_bench(path, engine.url, corpus, tmp_path / "out")

    assert result.summary.errors == {"reset": 4}
    assert result.summary.classes["all"].requests == 4
    assert [record.outcome for record in result.requests].count("not_sent") == 8


async def test_a_closed_loop_keeps_its_users_busy_and_lets_them_finish(
    scenario: Callable[..., Path], corpus: Path, tmp_path: Path
) -> None:
    """Four users, 100 ms an answer, no thinking: 40 requests a second, the last of them answered after the window."""
    path = scenario(rate=1, duration=1.05, arrivals={"kind": "closed", "users": 4})
    async with ScriptedEngine(Script(ttft=0.1)) as engine:
        result = await run_bench(path, engine.url, corpus, tmp_path / "out")

    assert 32 <= len(result.requests) <= 44
    assert all(record.ok and record.scheduled_at < 1.05 for record in result.requests)
    assert max(record.ended_at or 0.0 for record in result.requests) > 1.05


async def test_a_trace_is_replayed_at_another_speed(corpus: Path, tmp_path: Path) -> None:
    trace = tmp_path / "azure.csv"
    rows = [f"2023-11-16 18:00:{second:02d}.5000000,{10 + second},{1 + second % 3}" for second in range(0, 60, 2)]
    trace.write_text("\n".join(["TIMESTAMP,ContextTokens,GeneratedTokens", *rows, "broken"]))
    async with ScriptedEngine() as engine:
        arguments = ("replay", trace, "--target", engine.url, "--corpus", corpus, "--speed", "60")
        refused, _, errors = await bench(*arguments, "--out", tmp_path / "refused")
        status, printed, _ = await bench(*arguments, "--out", tmp_path / "out", "--skip-bad-rows")

    result = read_result(tmp_path / "out")
    assert (refused, status) == (1, 0)
    assert "azure.csv:32: 1 columns where the header has 3" in errors
    assert [record.scheduled_at for record in result.requests] == pytest.approx([n / 30 for n in range(30)])
    assert [record.max_tokens for record in result.requests[:3]] == [1, 3, 2]
    assert [record.planned_prompt_tokens for record in result.requests[:3]] == [10, 12, 14]
    assert "1 bad rows of the scenario's files were skipped" in result.verdict.notes
    assert "azure: " in printed
    assert not of_the_target(result)


async def test_repetitions_are_runs_of_their_own_and_make_an_interval(
    scenario: Callable[..., Path], corpus: Path, tmp_path: Path
) -> None:
    path, out = scenario(rate=20, duration=0.5, arrivals={"kind": "poisson", "rate": 20}), tmp_path / "out"
    async with ScriptedEngine(Script(ttft=0.05)) as engine:
        status, printed, errors = await bench(
            "run", path, "--target", engine.url, "--corpus", corpus, "--out", out, "--repeat", "3", "--name", "x"
        )

    assert status == 0, errors
    runs = [read_result(out / number) for number in "123"]
    assert [one.run.name for one in runs] == ["x 1", "x 2", "x 3"]
    assert [one.run.seed for one in runs] == [1, 2, 3]
    assert len({tuple(record.scheduled_at for record in one.requests) for one in runs}) == 3
    assert "95% interval" in printed


async def test_compare_runs_two_targets_in_turn_under_one_load(
    scenario: Callable[..., Path], corpus: Path, tmp_path: Path
) -> None:
    """B is 80 ms slower to its first token and just as fast from there."""
    path, out = scenario(rate=20, duration=0.5, arrivals={"kind": "poisson", "rate": 20}), tmp_path / "out"
    a, b = ScriptedEngine(Script(ttft=0.04, gaps=(0.01,))), ScriptedEngine(Script(ttft=0.12, gaps=(0.01,)))
    async with a, b:
        status, printed, errors = await bench(
            "compare", path, a.url, b.url, "--corpus", corpus, "--out", out, "--pairs", "3", "--quiet",
            "--fail-if", "ttft_p50 > 1.5x baseline", "--fail-if", "tpot_p50 > 1.5x baseline",
        )  # fmt: skip

    assert status == 3, errors
    comparison = orjson.loads((out / "compare.json").read_bytes())
    ratios = {one["figure"]: one for one in comparison["ratios"]}
    assert ratios["ttft_p50"]["ratio"]["value"] == pytest.approx(3.0, rel=0.15)
    assert ratios["ttft_p50"]["verdict"] == "B worse"
    assert [finding["outcome"] for finding in comparison["findings"]] == ["failed", "passed"]
    assert "no difference shown" in printed
    runs = {(number, side): read_result(out / number / side) for number in "123" for side in "ab"}
    for number in "123":
        one, other = runs[number, "a"], runs[number, "b"]
        assert [record.scheduled_at for record in one.requests] == [record.scheduled_at for record in other.requests]
        assert one.run.salt != other.run.salt
    assert len(a.received) == len(b.received) == 3 * 11


async def test_a_run_that_is_worse_than_its_baseline_ends_with_3(
    scenario: Callable[..., Path], corpus: Path, tmp_path: Path
) -> None:
    path, condition = scenario(rate=40, duration=0.5), ("--fail-if", "ttft_p50 > 1.5x baseline")
    async with ScriptedEngine(Script(ttft=0.04)) as fast, ScriptedEngine(Script(ttft=0.12)) as slow:
        await run_bench(path, fast.url, corpus, tmp_path / "fast")
        arguments = ("--target", slow.url, "--corpus", corpus, "--baseline", tmp_path / "fast", *condition)
        status, printed, _ = await bench("run", path, *arguments, "--out", tmp_path / "slow", "--quiet")

    assert status == 3
    assert "failed  ttft_p50 > 1.5x baseline: the ratio is" in printed


async def test_workers_share_one_schedule(scenario: Callable[..., Path], corpus: Path, tmp_path: Path) -> None:
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
    scenario: Callable[..., Path], corpus: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    async with ScriptedEngine(Script(ttft=0.05)) as engine:
        process = await start(
            "run", scenario(rate=20, duration=60), "--target", engine.url, "--corpus", corpus, "--out", out,
            "--workers", "2", "--quiet",
        )  # fmt: skip
        await engine.until(lambda: len(engine.received) >= 12, timeout=PATIENCE)
        process.send_signal(signal.SIGINT)
        await asyncio.wait_for(process.communicate(), PATIENCE)

    result = read_result(out)
    assert process.returncode == 130
    assert result.run.interrupted
    assert 5 <= result.summary.classes["all"].completed < 200
    assert len(result.requests) == 1200


@pytest.mark.parametrize("workers", [1, 2])
async def test_progress_has_live_percentiles(
    workers: int, scenario: Callable[..., Path], corpus: Path, tmp_path: Path
) -> None:
    """On a terminal: 100 ms to the first token, ten requests in flight at any time."""
    terminal, side = pty.openpty()
    async with ScriptedEngine(Script(ttft=0.1, gaps=(0.05,))) as engine:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "llm_bench", "run", str(scenario(rate=20, duration=2)), "--target", engine.url,
            "--corpus", str(corpus), "--out", str(tmp_path / "out"), "--workers", str(workers),
            env={**ENVIRONMENT, "TERM": "xterm", "COLUMNS": "100"}, stdout=asyncio.subprocess.DEVNULL, stderr=side,
        )  # fmt: skip
        os.close(side)
        reading = asyncio.create_task(asyncio.to_thread(_read_terminal, terminal))
        assert await asyncio.wait_for(process.wait(), PATIENCE) == 0
        shown = await reading

    running = [line for line in re.findall(r"\d+ in flight, [^\r\n]*", shown) if not line.startswith("0 ")]
    first = [float(found) for found in re.findall(r"TTFT P50 (\d+) ms P99", " ".join(running))]
    assert first  # while it ran, not only at its end
    assert np.median(first) == pytest.approx(100, abs=30)
    assert any("TPOT P50" in line for line in running)
    assert "40/40" in shown


def _read_terminal(terminal: int) -> str:
    """All that is written to it until nobody has it open any more."""
    shown = b""
    with contextlib.suppress(OSError), os.fdopen(terminal, "rb", buffering=0) as file:
        while data := file.read(65536):
            shown += data
    return shown.decode()


@pytest.mark.parametrize("workers", [1, 2])
async def test_an_api_key_goes_out_and_is_written_nowhere(
    workers: int, scenario: Callable[..., Path], corpus: Path, tmp_path: Path
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
        return await _three_tokens(request)

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
        env={**ENVIRONMENT, **keys}, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    printed = b"".join(await asyncio.wait_for(process.communicate(), PATIENCE))
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
    scenario: Callable[..., Path], corpus: Path, tmp_path: Path
) -> None:
    async with ScriptedEngine() as engine:
        status, _, errors = await bench(
            "run", scenario(rate=1, duration=1), "--target", engine.url, "--corpus", corpus, "--out", tmp_path / "out",
            "--api-key-env", "NO_SUCH_KEY",
        )  # fmt: skip

    assert (status, engine.received) == (1, [])
    assert "the environment variable NO_SUCH_KEY holds no API key: set it, or name another" in errors


async def test_a_disk_that_fills_up_while_it_is_written_keeps_what_it_takes(
    scenario: Callable[..., Path], corpus: Path, tmp_path: Path
) -> None:
    """Files may grow to 160 KB, which 40 requests of 1,000 chunks do not fit in with every chunk's time.

    The gaps keep chunks apart on a busy machine as well; a fifth of them would be enough.
    """
    path = scenario(rate=40, duration=1, output={"kind": "fixed", "tokens": 1000})
    async with ScriptedEngine(Script(gaps=(0.002,))) as engine:
        process = await asyncio.create_subprocess_exec(
            "sh", "-c", 'ulimit -f 320; trap "" XFSZ; exec "$@"', "sh", sys.executable, "-m", "llm_bench", "run",
            str(path), "--target", engine.url, "--corpus", str(corpus), "--out", str(tmp_path / "out"),
            env=ENVIRONMENT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, errors = await asyncio.wait_for(process.communicate(), PATIENCE)

    result = read_result(tmp_path / "out")
    assert process.returncode == 1
    assert result.partial is not None
    assert "without times of chunks after the first: File too large" in errors.decode()
    assert "partial, without times of chunks" in out.decode()
    assert result.summary.classes["all"].output_tokens == 40 * 1000
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["requests.csv", "result.json"]


async def test_sweep_runs_every_rate_and_draws_its_curves(
    scenario: Callable[..., Path], corpus: Path, tmp_path: Path
) -> None:
    async with ScriptedEngine(Script(ttft=0.02)) as engine:
        status, printed, errors = await bench(
            "sweep", scenario(rate=1, duration=0.5), "--target", engine.url, "--corpus", corpus, "--quiet",
            "--rates", "20,10", "--repeat", "2", "--out", tmp_path / "out",
        )  # fmt: skip

    assert status == 0, errors
    folders = ("10/1", "10/2", "20/1", "20/2")
    assert [len(read_result(tmp_path / "out" / folder).requests) for folder in folders] == [5, 5, 10, 10]
    assert "<svg" in (tmp_path / "out" / "sweep.html").read_text()
    assert len(printed.splitlines()) == 5


async def test_saturate_finds_the_rate_of_a_target_with_two_slots(
    scenario: Callable[..., Path], corpus: Path, tmp_path: Path
) -> None:
    """Each answer takes 100 ms: at more than 20 requests/s the queue passes the SLO of 0.3 s within 1.5 s."""
    values = {"weight": 1, "prompt_tokens": FIXED, "output_tokens": FIXED, "slo": {"ttft": 0.3}}
    path = scenario(rate=12, duration=1.5)
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), "classes": {"chat": values}}))
    async with ScriptedEngine(Script(ttft=0.1, max_running=2)) as engine:
        status, printed, errors = await bench(
            "saturate", path, "--target", engine.url, "--corpus", corpus, "--quiet", "--repeat", "1",
            "--precision", "0.3", "--out", tmp_path / "out",
        )  # fmt: skip

    assert status == 0, errors
    knee = orjson.loads((tmp_path / "out" / "knee.json").read_bytes())
    assert 6 <= knee["holds"] < 24  # fewer on a busy machine
    assert knee["fails"] / knee["holds"] <= 1.3
    assert [read_result(tmp_path / "out" / str(n + 1)).scenario.rate for n in range(len(knee["trials"]))] == (
        pytest.approx([trial["rate"] for trial in knee["trials"]])
    )
    assert f"Highest rate that holds: {knee['holds']:.3g}/s" in printed


async def test_report_puts_two_runs_side_by_side(scenario: Callable[..., Path], corpus: Path, tmp_path: Path) -> None:
    path = scenario(rate=10, duration=1)
    async with ScriptedEngine(Script(ttft=0.05)) as engine:
        await run_bench(path, engine.url, corpus, tmp_path / "a", "--name", "first")
        await run_bench(path, engine.url, corpus, tmp_path / "b", "--name", "second")

    html, json = tmp_path / "report.html", tmp_path / "report.json"
    status, out, errors = await bench(
        "report", tmp_path / "a", tmp_path / "b", "--html", html, "--json", json, "--title", "Twice the same"
    )

    assert status == 0, errors
    assert "first: " in out
    assert "second: " in out
    assert "Twice the same" in html.read_text()
    assert [run["run"]["name"] for run in orjson.loads(json.read_bytes())["runs"]] == ["first", "second"]


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("run", "gone.yaml", "--target", "http://127.0.0.1:1", "--out", "o"), 1, "gone.yaml: cannot be read"),
        (("run", "gone.yaml", "--target", "u", "--out", "o", "--rate", "-1"), 2, "must be a number above 0, not '-1'"),
        (
            ("run", "gone.yaml", "--target", "u", "--out", "o", "--rate", "1", "--rate-scale", "2"),
            2,
            "not allowed with",
        ),
        (("capacity", "gone.yaml", "--target", "u", "--users", "0"), 2, "must be a whole number of 1 or more, not '0'"),
        (
            ("run", "gone.yaml", "--target", "u", "--out", "o", "--seed", "-1"),
            2,
            "must be a whole number of 0 or more, not '-1'",
        ),
        (("sweep", "gone.yaml", "--target", "u", "--out", "o", "--rates", "4,0"), 2, "such as 2,4,8, not '4,0'"),
        (("saturate", "gone.yaml", "--target", "u", "--out", "o", "--repeat", "2"), 2, "must be an odd number"),
        (
            ("saturate", "gone.yaml", "--target", "u", "--out", "o", "--goal", "99"),
            2,
            "at most 1, such as 0.99, not '99'",
        ),
        (("replay", "gone.csv", "--target", "http://127.0.0.1:1", "--out", "o"), 1, "gone.csv: the trace cannot"),
        (("report", "gone"), 1, "gone: cannot be read"),
        (("compare", "gone.yaml", "u", "v", "--out", "o", "--pairs", "1"), 2, "must be a whole number of 2 or more"),
        (("run", "s.yaml", "--target", "u", "--out", "o", "--api-key-env", "sk-1a2b"), 2, "and not the key itself"),
        (("compare", "gone.yaml", "u", "v", "--out", "o"), 1, "gone.yaml: cannot be read"),
    ],
)
def test_wrong_usage_is_told_in_one_line(
    arguments: tuple[str, ...], status: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code: object = main(arguments)
    except SystemExit as end:  # how argparse ends
        code = end.code

    assert code == status
    assert message in capsys.readouterr().err


async def _three_tokens(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"content-type": sse.CONTENT_TYPE})
    await response.prepare(request)
    for word in ("one", "two", "three"):
        await response.write(sse.encode({"choices": [{"index": 0, "text": word}]}))
    await response.write(sse.DONE)
    return response
