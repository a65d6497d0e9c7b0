"""Several runs: replay, repetitions, compare, a baseline, sweep and saturate."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml

import llm_bench.__main__  # noqa: F401  # what the processes below run
from llm_bench.results.result import read_result
from llm_contract.testing import Script, ScriptedEngine


async def test_a_trace_is_replayed_at_another_speed(
    corpus: Path, tmp_path: Path, bench: Any, of_the_target: Any
) -> None:
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
    scenario: Callable[..., Path], corpus: Path, tmp_path: Path, bench: Any
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
    scenario: Callable[..., Path], corpus: Path, tmp_path: Path, bench: Any
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
    scenario: Callable[..., Path], corpus: Path, tmp_path: Path, bench: Any, run_bench: Any
) -> None:
    path, condition = scenario(rate=40, duration=0.5), ("--fail-if", "ttft_p50 > 1.5x baseline")
    async with ScriptedEngine(Script(ttft=0.04)) as fast, ScriptedEngine(Script(ttft=0.12)) as slow:
        await run_bench(path, fast.url, corpus, tmp_path / "fast")
        arguments = ("--target", slow.url, "--corpus", corpus, "--baseline", tmp_path / "fast", *condition)
        status, printed, _ = await bench("run", path, *arguments, "--out", tmp_path / "slow", "--quiet")

    assert status == 3
    assert "failed  ttft_p50 > 1.5x baseline: the ratio is" in printed


async def test_sweep_runs_every_rate_and_draws_its_curves(
    scenario: Callable[..., Path], corpus: Path, tmp_path: Path, bench: Any
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
    scenario: Callable[..., Path], corpus: Path, tmp_path: Path, bench: Any, fixed: Any
) -> None:
    """Each answer takes 100 ms: at more than 20 requests/s the queue passes the SLO of 0.3 s within 1.5 s."""
    values = {"weight": 1, "prompt_tokens": fixed, "output_tokens": fixed, "slo": {"ttft": 0.3}}
    path = scenario(rate=12, duration=1.5)
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), "classes": {"chat": values}}))
    knee: dict[str, Any] = {"holds": None}
    async with ScriptedEngine(Script(ttft=0.1, max_running=2)) as engine:
        for attempt in range(5):
            if (knee["holds"] or 0.0) < 6:  # a machine that starves this process looks like a slow target
                out = tmp_path / f"out-{attempt}"
                status, printed, errors = await bench(
                    "saturate", path, "--target", engine.url, "--corpus", corpus, "--quiet", "--repeat", "1",
                    "--precision", "0.3", "--out", out,
                )  # fmt: skip
                knee = orjson.loads((out / "knee.json").read_bytes())
                assert status == (0 if knee["holds"] else 1), errors

    assert 6 <= knee["holds"] < 24
    assert knee["fails"] / knee["holds"] <= 1.3
    assert [read_result(out / str(n + 1)).scenario.rate for n in range(len(knee["trials"]))] == (
        pytest.approx([trial["rate"] for trial in knee["trials"]])
    )
    assert f"Highest rate that holds: {knee['holds']:.3g}/s" in printed
