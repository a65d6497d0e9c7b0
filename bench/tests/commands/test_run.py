"""`llm-bench run` as a process, against servers that answer by script: times, counts, failures, interrupts."""

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry, Gauge, Histogram, generate_latest

import llm_bench.__main__  # noqa: F401  # what the processes below run
from llm_bench.results.result import read_result
from llm_contract.testing import Script, ScriptedEngine


async def test_times_are_those_of_the_script(
    scenario: Callable[..., Path], corpus: Path, tmp_path: Path, run_bench: Any
) -> None:
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
    scenario: Callable[..., Path], corpus: Path, tmp_path: Path, run_bench: Any
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
    scenario: Callable[..., Path], corpus: Path, tmp_path: Path, run_bench: Any
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
    scenario: Callable[..., Path], corpus: Path, tmp_path: Path, run_bench: Any
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


async def test_rejections_count_as_misses(
    scenario: Callable[..., Path], corpus: Path, tmp_path: Path, run_bench: Any, serving: Any, three_tokens: Any
) -> None:
    async def no_batch(request: web.Request) -> web.StreamResponse:
        if request.headers["x-priority"] == "batch":
            return web.json_response({"error": {"message": "the queue is full"}}, status=429)
        return await three_tokens(request)

    async with serving(no_batch) as url:
        path = scenario(rate=20, duration=1, classes=("interactive", "batch"))
        result = await run_bench(path, url, corpus, tmp_path / "out")

    classes = result.summary.classes
    assert (classes["interactive"].slo_attainment, classes["batch"].slo_attainment) == (1.0, 0.0)
    assert (classes["batch"].rejected, classes["batch"].failed, classes["all"].slo_attainment) == (10, 0, 0.5)
    assert result.summary.errors == {"rejected": 10}
    assert next(r for r in result.requests if not r.ok).detail == "the queue is full"


async def test_streams_that_are_reset_are_errors_and_the_run_is_invalid(
    scenario: Callable[..., Path], corpus: Path, tmp_path: Path, run_bench: Any
) -> None:
    async with ScriptedEngine(Script(gaps=(0.01,))) as engine:
        engine.die_after_chunks = 3  # the probe asks for two tokens and gets through
        result = await run_bench(scenario(rate=10, duration=1), engine.url, corpus, tmp_path / "out")

    assert result.summary.errors == {"reset": 10}
    assert not result.verdict.valid
    assert "10 of 10 requests failed (10 reset); limit 1%" in result.verdict.reasons
    assert [sum(record.chunk_tokens) for record in result.requests] == [3] * 10


async def test_what_is_still_running_at_the_drain_limit_is_cut_off_and_written(
    scenario: Callable[..., Path], corpus: Path, tmp_path: Path, run_bench: Any, serving: Any, three_tokens: Any
) -> None:
    async def hang_on_nine(request: web.Request) -> web.StreamResponse:
        if (await request.json())["max_tokens"] == 9:
            await asyncio.Event().wait()
        return await three_tokens(request)

    async with serving(hang_on_nine) as url:
        result = await run_bench(scenario(rate=4, duration=1, drain=0.3), url, corpus, tmp_path / "out")

    assert result.summary.errors == {"incomplete": 4}
    assert "4 of 4 requests were still running at the drain limit" in result.verdict.reasons[0]
    assert result.summary.classes["all"].longest_wait == pytest.approx(1.05, abs=0.3)


async def test_an_interrupt_writes_what_was_measured(
    scenario: Callable[..., Path], corpus: Path, tmp_path: Path, patience: Any, start: Any
) -> None:
    out = tmp_path / "out"
    async with ScriptedEngine(Script(ttft=0.05)) as engine:
        arguments = ("run", scenario(rate=20, duration=60), "--target", engine.url, "--corpus", corpus, "--out", out)
        process = await start(*arguments)
        await engine.until(lambda: len(engine.received) >= 10, timeout=patience)
        process.send_signal(signal.SIGINT)
        output, _ = await asyncio.wait_for(process.communicate(), patience)

    result = read_result(out)
    assert process.returncode == 130
    assert result.run.interrupted
    assert 5 <= result.summary.classes["all"].completed < 100
    assert len(result.requests) == 1200
    assert result.verdict.reasons[0].startswith("interrupted: ")
    assert b"INVALID" in output


async def test_a_target_that_fails_every_request_is_told_before_the_load(
    scenario: Callable[..., Path], corpus: Path, tmp_path: Path, bench: Any
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
    scenario: Callable[..., Path], corpus: Path, tmp_path: Path, bench: Any
) -> None:
    async with ScriptedEngine(Script(max_model_len=17)) as engine:
        path = scenario(rate=1, duration=1)
        status, _, errors = await bench(
            "run", path, "--target", engine.url, "--corpus", corpus, "--out", tmp_path / "o"
        )

    assert status == 1
    assert "may draw a request of 18 tokens, but scripted takes 17" in errors


async def test_the_servers_metrics_are_beside_ours(
    scenario: Callable[..., Path], corpus: Path, tmp_path: Path, run_bench: Any, serving: Any, three_tokens: Any
) -> None:
    """A server that observes 120 ms where its clients wait 120 ms, and says how many requests it runs."""
    registry = CollectorRegistry()
    ttft = Histogram("vllm:time_to_first_token_seconds", "h", registry=registry, buckets=(0.06, 0.1, 0.25, 0.5))
    running = Gauge("vllm:num_requests_running", "h", registry=registry)

    async def generate(request: web.Request) -> web.StreamResponse:
        with running.track_inprogress():
            await asyncio.sleep(0.12)
            ttft.observe(0.12)
            return await three_tokens(request)

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
    scenario: Callable[..., Path],
    corpus: Path,
    tmp_path: Path,
    of_the_target: Any,
    run_bench: Any,
    serving: Any,
    three_tokens: Any,
) -> None:
    async with serving(three_tokens) as url:
        result = await run_bench(scenario(rate=20, duration=0.5), url, corpus, tmp_path / "out")

    assert result.server is None
    assert not of_the_target(result)


async def test_turns_wait_for_the_answer_before(
    scenario: Callable[..., Path], corpus: Path, tmp_path: Path, run_bench: Any
) -> None:
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
    scenario: Callable[..., Path], corpus: Path, tmp_path: Path, run_bench: Any
) -> None:
    path = scenario(rate=4, duration=1, turns={"count": {"kind": "fixed", "tokens": 3}})
    async with ScriptedEngine() as engine:
        engine.die_after_chunks = 3  # the probe asks for two tokens and gets through
        result = await run_bench(path, engine.url, corpus, tmp_path / "out")

    assert result.summary.errors == {"reset": 4}
    assert result.summary.classes["all"].requests == 4
    assert [record.outcome for record in result.requests].count("not_sent") == 8


async def test_a_closed_loop_keeps_its_users_busy_and_lets_them_finish(
    scenario: Callable[..., Path], corpus: Path, tmp_path: Path, run_bench: Any
) -> None:
    """Four users, 100 ms an answer, no thinking: 40 requests a second, the last of them answered after the window."""
    path = scenario(rate=1, duration=1.05, arrivals={"kind": "closed", "users": 4})
    async with ScriptedEngine(Script(ttft=0.1)) as engine:
        result = await run_bench(path, engine.url, corpus, tmp_path / "out")

    assert 32 <= len(result.requests) <= 44
    assert all(record.ok and record.scheduled_at < 1.05 for record in result.requests)
    assert max(record.ended_at or 0.0 for record in result.requests) > 1.05
