"""The gain from preemption with requeueing: the same overload with it off and on, several seeds, in turn.

    .venv/bin/python services/gateway/benchmarks/requeue.py [--seeds 5]

A scripted engine runs four requests at a time and holds eight, so half of its requests wait outside the gateway's
order. Pulling a batch request back makes room there. Its work so far is lost, which shows in the total time, and its
client sees a longer wait. llm-bench sends the load, in its own process.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml
from benchmarks.servers import gateway

from llm_measure import results
from llm_measure.processes import python, scripted_engine

RUNNING, SLOTS = 4, 8
TTFT, GAP = 0.1, 0.01
"""Seconds."""
OUTPUT_TOKENS = {"interactive": 8, "batch": 40}
WEIGHTS = {"interactive": 0.3, "batch": 0.7}
LOAD = 1.2
"""Load relative to the engine's capacity."""
SECONDS = 15.0
CASES = {"off": "{}", "on": '{"enabled": true}'}


def capacity() -> float:
    """Return the capacity in requests per second of this mix."""
    return RUNNING / sum(WEIGHTS[name] * (TTFT + (tokens - 1) * GAP) for name, tokens in OUTPUT_TOKENS.items())


def scenario() -> dict[str, Any]:
    def fixed(tokens: int) -> dict[str, Any]:
        return {"kind": "fixed", "tokens": tokens}

    return {
        "name": "preemption",
        "duration": SECONDS,
        "arrivals": {"kind": "poisson", "rate": LOAD * capacity()},
        "classes": {
            name: {"weight": WEIGHTS[name], "prompt_tokens": fixed(16), "output_tokens": fixed(tokens)}
            for name, tokens in OUTPUT_TOKENS.items()
        },
    }


def run(case: str, seed: int, folder: Path) -> dict[str, Any]:
    engine = scripted_engine("--max-running", str(RUNNING), "--ttft", str(TTFT), "--gaps", str(GAP))
    with python(*engine) as it:
        slots = json.dumps([{"url": it.url, "max_in_flight": SLOTS}])
        with python(*gateway(slots, "--preemption", CASES[case])) as running:
            out = folder / f"{case}-{seed}"
            command = ("-m", "llm_bench", "run", str(folder / "scenario.yaml"), "--target", running.url, "--quiet")
            subprocess.run((sys.executable, *command, "--seed", str(seed), "--out", str(out)), check=True)
            preempted = running.metric("gateway_reattempts_total")
    classes = json.loads((out / "result.json").read_bytes())["summary"]["classes"]
    return {
        "case": case,
        "seed": seed,
        "preempted": preempted,
        "requests": classes["all"]["requests"],
        "completed": classes["all"]["completed"],
        "ttft_p99": {name: classes[name]["ttft"]["percentiles"]["p99"] for name in OUTPUT_TOKENS},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--no-write", action="store_true", help="leave results/requeue.json as it is")
    arguments = parser.parse_args()
    machine = results.machine()
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "scenario.yaml").write_text(yaml.safe_dump(scenario()))
        runs = [run(case, seed, Path(folder)) for seed in range(arguments.seeds) for case in CASES]
    ratios = {name: _ratios(runs, name) for name in OUTPUT_TOKENS}
    for name, each in ratios.items():
        spread = f"{statistics.median(each):.2f} ({min(each):.2f} … {max(each):.2f})"
        print(f"  {name:<12} P99 TTFT with preemption, of without: {spread}")
    found = {"machine": machine, "load": LOAD, "seconds": SECONDS, "p99_of_without": ratios, "runs": runs}
    held = results.check(
        found,
        {
            "interactive P99 TTFT, of without": (statistics.median(ratios["interactive"]), "<=", 1.0),
            "requests lost": (float(sum(each["requests"] - each["completed"] for each in runs)), "<=", 0.0),
            "fewest preemptions in a run": (min(each["preempted"] for each in runs if each["case"] == "on"), ">=", 1.0),
        },
    )
    if not arguments.no_write:
        print(results.write(__file__, found).name)
    sys.exit(not held)


def _ratios(runs: list[dict[str, Any]], name: str) -> list[float]:
    """Return the ratio with over without, for each seed."""
    p99 = {(each["case"], each["seed"]): each["ttft_p99"][name] for each in runs}
    return [p99["on", seed] / p99["off", seed] for case, seed in p99 if case == "on"]


if __name__ == "__main__":
    main()
