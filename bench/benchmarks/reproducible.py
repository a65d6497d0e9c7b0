"""Three reports of one scenario on our engine: do they say the same, and do their intervals cover each other?

    .venv/bin/python bench/benchmarks/reproducible.py [--rate 2] [--seconds 50] [--no-write]

A report is what `llm-bench run --repeat 3` makes: three runs, the mean of each figure over them, and its t-interval.
All three send the same schedules, but no prompt of one run is in a cache for another. The engine serves models/main by
itself on a port of its own. The rate is modest: the more requests are computed at once, the slower each of them, so a
slow moment of the machine feeds itself. A first run warms the engine up and is thrown away. Eleven minutes in all.

Bars: throughput and the medians of TTFT and TPOT of each report within 5% of the mean of the three, and the interval
that each report gives for them covers what the other two say.

A machine that others share changes its speed, and the interval of a single run, drawn from its own requests, cannot
know how fast the machine will be in the next: how often it covers another run of the same schedule is in the result,
beside the bars. A control (pace.py) sees the change itself, and the times divided by it stand next to the times.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.bars import ROOT, Bar, check, describe_machine, write
from benchmarks.pace import Pace
from benchmarks.programs import bench, bench_repeated, end_on_sigterm, serving

from llm_bench.analyse.figures import Figure, read_figure
from llm_bench.analyse.repetitions import Estimate, mean_interval
from llm_bench.results.result import Result
from llm_report.units import seconds as seconds_of

REPORTS = 3
RUNS = 3
"""Runs of each report."""
PAIRS = REPORTS * (REPORTS - 1)
BAR_SPREAD = 0.05
SCENARIO = ROOT / "bench" / "scenarios" / "mixed-priority.yaml"
MODEL = ROOT / "models" / "main"
FIGURES = ("ttft_p50", "tpot_p50", "output_tokens_per_second")
MEDIANS = {"ttft_p50": "ttft", "tpot_p50": "tpot"}
"""A figure and the distribution whose median it is."""


def measure(url: str, rate: float, seconds: float, folder: Path) -> tuple[list[list[Result]], list[float]]:
    """Return the runs of each report and the machine's pace during it. A run before them warms the engine up."""
    tokenizer = ("--tokenizer", str(MODEL / "tokenizer.json"))
    flags = ("--target", url, "--rate", str(rate), "--duration", str(seconds), *tokenizer)
    bench("run", str(SCENARIO), *flags, out=folder / "warm-up")
    reports, paces = [], []
    for number in range(1, REPORTS + 1):
        with Pace() as pace:
            runs = bench_repeated(str(SCENARIO), *flags, count=RUNS, out=folder / str(number))
        for result in runs:
            every = result.summary.classes["all"]
            verdict = "VALID" if result.verdict.valid else "INVALID: " + "; ".join(result.verdict.reasons)
            ttft, tpot = seconds_of(every.ttft.p50), seconds_of(every.tpot.p50)
            said = f"{every.requests} requests, TTFT P50 {ttft}, TPOT P50 {tpot}, {verdict}"
            print(f"  report {number}  {said}", flush=True)
        print(f"            control {1e3 * pace.seconds():.2f} ms", flush=True)
        reports.append(runs)
        paces.append(pace.seconds())
    return reports, paces


def estimate(runs: Sequence[Result], name: str) -> Estimate:
    values = [read_figure(run.summary, Figure("all", name)) for run in runs]
    return mean_interval([value for value in values if value is not None])


def largest_deviation(values: Sequence[float]) -> float:
    """Return the largest deviation from the mean, as a share of the mean."""
    return max(abs(value * len(values) / sum(values) - 1) for value in values)


def covered(intervals: Sequence[tuple[float | None, float | None]], values: Sequence[float | None]) -> int:
    """Count the ordered pairs in which the second run's value lies within the first run's interval."""
    pairs = itertools.permutations(zip(intervals, values, strict=True), 2)
    return sum(_holds(interval, value) for (interval, _), (_, value) in pairs)


def _holds(interval: tuple[float | None, float | None], value: float | None) -> bool:
    low, high = interval
    return low is not None and high is not None and value is not None and low <= value <= high


def single_runs(reports: Sequence[Sequence[Result]], time: str) -> dict[str, int]:
    """Count how often a single run's interval for its median covers the median of another run of the same schedule."""
    count = 0
    for same_schedule in zip(*reports, strict=True):
        medians = [getattr(run.summary.classes["all"], time) for run in same_schedule]
        count += covered([one.intervals["p50"] for one in medians], [one.p50 for one in medians])
    return {"covered": count, "pairs": RUNS * PAIRS}


def compare(reports: list[list[Result]]) -> tuple[dict[str, dict[str, Any]], list[Bar]]:
    """Return each figure in all reports, and the bars that they are held to."""
    bars: list[Bar] = []
    figures: dict[str, dict[str, Any]] = {}
    for name in FIGURES:
        estimates = [estimate(runs, name) for runs in reports]
        means = [one.value for one in estimates]
        intervals = [(one.low, one.high) for one in estimates]
        figures[name] = {
            "values": means,
            "intervals": intervals,
            "largest_deviation": largest_deviation(means),
            "half_width": max((one.half_width or 0.0) / one.value for one in estimates),
            "covered": covered(intervals, means),
            "pairs": PAIRS,
        }
        bars += [
            Bar(f"largest deviation, {name}", largest_deviation(means), "<=", BAR_SPREAD),
            Bar(f"pairs whose interval covers the other, {name}", covered(intervals, means), ">=", PAIRS),
        ]
    return figures, bars


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=2.0, help="requests per second")
    parser.add_argument("--seconds", type=float, default=50.0, help="of each run")
    parser.add_argument("--no-write", action="store_true", help="leave results/reproducible.json as it is")
    arguments = parser.parse_args()
    end_on_sigterm()
    machine = describe_machine()
    engine = ("-m", "llm_engine", "serve", str(MODEL), "--served-model-name", "main", "--port", "0")
    with tempfile.TemporaryDirectory() as folder, serving(*engine) as server:
        reports, paces = measure(server.url, arguments.rate, arguments.seconds, Path(folder))
    figures, bars = compare(reports)
    valid = sum(run.verdict.valid for runs in reports for run in runs)
    bars.append(Bar("runs that are VALID", valid, ">=", REPORTS * RUNS))
    held = check(bars)
    print(f"the control's own largest deviation: {largest_deviation(paces):.3f}")
    for name in MEDIANS:
        beside = [value / pace for value, pace in zip(figures[name]["values"], paces, strict=True)]
        figures[name]["largest_deviation_by_control"] = largest_deviation(beside)
        print(f"largest deviation of {name} ÷ control: {largest_deviation(beside):.3f}")
    singles = {name: single_runs(reports, time) for name, time in MEDIANS.items()}
    for name, one in singles.items():
        print(f"a single run's interval covers another's median, {name}: {one['covered']} of {one['pairs']}")
    if not arguments.no_write:
        found = {
            "scenario": SCENARIO.name,
            "rate": arguments.rate,
            "seconds": arguments.seconds,
            "runs": RUNS,
            "requests": reports[0][0].summary.classes["all"].requests,
            "server": reports[0][0].run.server_version,
            "figures": figures,
            "control": {"values": paces, "largest_deviation": largest_deviation(paces)},
            "single_runs": singles,
        }
        print(write("reproducible", machine, bars, found).name)
    sys.exit(not held)


if __name__ == "__main__":
    main()
