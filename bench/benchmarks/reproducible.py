"""Three runs of one scenario on our engine: do they say the same, and do their intervals cover each other?

    .venv/bin/python bench/benchmarks/reproducible.py [--rate 3] [--seconds 80] [--no-write]

The engine serves models/main by itself on a port of its own. The rate is modest: how an overloaded queue grows is a
matter of the moment. A first run warms the engine up and is thrown away. All send the same schedule, but no prompt of
one run is in a cache for another.

Bars: throughput and the medians of TTFT and TPOT of each run within 5% of the mean of the three, and the 95% interval
that the report gives for each median covers the medians of the other two runs. The t-intervals over the three runs are
in the result.

A machine that others share changes its speed. A control sees it: a fixed computation of some milliseconds, once a
second while each run lasts. Its deviation over the runs stands beside theirs, and so do the runs' times divided by it.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.bars import ROOT, Bar, check, describe_machine, write
from benchmarks.pace import Pace
from benchmarks.programs import bench, end_on_sigterm, serving

from llm_bench.repetitions import mean_interval
from llm_bench.report.units import seconds as seconds_of
from llm_bench.results import Result
from llm_bench.stats import Distribution
from llm_bench.summary import ClassSummary

RUNS = 3
BAR_SPREAD = 0.05
SCENARIO = ROOT / "bench" / "scenarios" / "mixed-priority.yaml"
MODEL = ROOT / "models" / "main"
FIGURES: dict[str, Callable[[ClassSummary], float | None]] = {
    "ttft_p50": lambda every: every.ttft.p50,
    "tpot_p50": lambda every: every.tpot.p50,
    "output_tokens_per_second": lambda every: every.output_tokens_per_second,
}
MEDIANS: dict[str, Callable[[ClassSummary], Distribution]] = {
    "ttft_p50": lambda every: every.ttft,
    "tpot_p50": lambda every: every.tpot,
}


def run_all(url: str, rate: float, seconds: float, folder: Path) -> tuple[list[Result], list[float]]:
    """The runs and the machine's pace during each. The first run, which warms up, is not among them."""
    results, paces = [], []
    for number in range(RUNS + 1):
        flags = ("--target", url, "--rate", str(rate), "--duration", str(seconds))
        tokenizer = ("--tokenizer", str(MODEL / "tokenizer.json"))
        with Pace() as pace:
            result = bench("run", str(SCENARIO), *flags, *tokenizer, out=folder / str(number))
        every = result.summary.classes["all"]
        verdict = "VALID" if result.verdict.valid else "INVALID: " + "; ".join(result.verdict.reasons)
        ttft, tpot = seconds_of(every.ttft.p50), seconds_of(every.tpot.p50)
        name = f"run {number}" if number else "warm-up"
        print(f"  {name}  {every.requests} requests, TTFT P50 {ttft}, TPOT P50 {tpot}, {verdict}", flush=True)
        print(f"          control {1e3 * pace.seconds():.2f} ms", flush=True)
        results.append(result)
        paces.append(pace.seconds())
    return results[1:], paces[1:]


def compare(values: list[float]) -> dict[str, Any]:
    estimate = mean_interval(values)
    return {
        "values": values,
        "mean": estimate.value,
        "t_interval": [estimate.low, estimate.high],
        "largest_deviation": max(abs(value / estimate.value - 1) for value in values),
    }


def covered(distributions: list[Distribution]) -> int:
    """Ordered pairs of runs of which the second's median lies within the first's interval for it."""
    return sum(holds(one, other.p50) for one, other in itertools.permutations(distributions, 2))


def holds(one: Distribution, median: float | None) -> bool:
    low, high = one.intervals["p50"]
    return None not in (low, high, median) and low <= median <= high  # type: ignore[operator]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=3.0, help="requests per second")
    parser.add_argument("--seconds", type=float, default=80.0, help="of each run")
    parser.add_argument("--no-write", action="store_true", help="leave results/reproducible.json as it is")
    arguments = parser.parse_args()
    end_on_sigterm()
    machine = describe_machine()
    engine = ("-m", "llm_engine", "serve", str(MODEL), "--served-model-name", "main", "--port", "0")
    with tempfile.TemporaryDirectory() as folder, serving(*engine) as server:
        results, paces = run_all(server.url, arguments.rate, arguments.seconds, Path(folder))
    summaries = [result.summary.classes["all"] for result in results]
    figures = {name: compare([read(one) or 0.0 for one in summaries]) for name, read in FIGURES.items()}
    control = compare(paces)
    by_control = {
        name: compare([value / pace for value, pace in zip(figures[name]["values"], paces, strict=True)])
        for name in MEDIANS
    }
    pairs = {name: covered([read(one) for one in summaries]) for name, read in MEDIANS.items()}
    bars = [
        Bar(f"largest deviation, {name}", one["largest_deviation"], "<=", BAR_SPREAD) for name, one in figures.items()
    ]
    for name, count in pairs.items():
        bars.append(Bar(f"pairs of runs whose interval covers the other's, {name}", count, ">=", RUNS * (RUNS - 1)))
    bars.append(Bar("runs that are VALID", sum(result.verdict.valid for result in results), ">=", RUNS))
    held = check(bars)
    print(f"the control's own largest deviation: {control['largest_deviation']:.3f}")
    for name, one in by_control.items():
        print(f"largest deviation of {name} ÷ control: {one['largest_deviation']:.3f}")
    if not arguments.no_write:
        found = {
            "scenario": SCENARIO.name,
            "rate": arguments.rate,
            "seconds": arguments.seconds,
            "requests": summaries[0].requests,
            "server": results[0].run.server_version,
            "figures": figures,
            "control": control,
            "by_control": by_control,
        }
        print(write("reproducible", machine, bars, found).name)
    sys.exit(not held)


if __name__ == "__main__":
    main()
