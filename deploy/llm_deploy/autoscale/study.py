"""The shipped autoscaler on a simulated day, compared with constant fleets and with thresholds that others use.

python -m llm_deploy.autoscale.study       # prints the table of the committed results

The simulation and its bars: `./lab autoscale simulate`.
"""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from llm_deploy import paths
from llm_deploy.autoscale import queries
from llm_deploy.autoscale.day import arrivals
from llm_deploy.autoscale.fleet import MODEL, OBJECTIVE, Day, World, run_day
from llm_deploy.autoscale.hpa import Behaviour, Rules
from llm_deploy.autoscale.strategy import Strategy, by_metrics, by_utilisation, constant

RESULTS = paths.DEPLOY / "results" / "autoscale_day.json"
PEAK_RATE = 6.0
"""Requests per second at 14:00, before noise and bursts."""
AVERAGE_SECONDS = 60.0
"""The window of avg_over_time in the shipped expressions."""
PROCESSES = 2
SHIPPED = "shipped"
SEEDS = range(1, 8)
"""Days with other noise: the shipped values were chosen on several days, not on the one that the table begins with."""


def shipped(name: str = SHIPPED, *, average: float = AVERAGE_SECONDS, **changes: float) -> Strategy:
    """Return the shipped HPA of the engines. `target`, `window` and `pause` change one parameter of it."""
    behaviour, targets = queries.hpa_behaviour("engine"), queries.hpa_targets("engine")
    if "target" in changes:
        targets["llm_engine_requests"] = changes["target"]
    if "window" in changes:
        down: Rules = dataclasses.replace(behaviour.down, window=changes["window"])
        behaviour = dataclasses.replace(behaviour, down=down)
    if "pause" in changes:
        policies = tuple(dataclasses.replace(each, period=changes["pause"]) for each in behaviour.down.policies)
        behaviour = dataclasses.replace(behaviour, down=dataclasses.replace(behaviour.down, policies=policies))
    return by_metrics(name, targets, behaviour, average_seconds=average)


def cases() -> list[tuple[str, Strategy, World]]:
    """Return (group, strategy, world) of each simulated day."""
    normal = World()
    bounds = Behaviour(2, normal.most)
    others = [
        by_metrics("KEDA guides: waiting > 5", {"llm_requests_waiting": 5}, bounds),
        by_utilisation("GPU or CPU busy > 80%", 0.8, bounds),
    ]
    varied = [
        *(shipped(f"target {target}", target=target) for target in (10, 18, 24)),
        shipped("no average", average=0.0),
        shipped("window 300 s", window=300),
        shipped("pause 300 s", pause=300),
    ]
    found = [("strategies", each, normal) for each in (shipped(), *map(constant, (4, 5, 6)), *others)]
    found += [("parameters", each, normal) for each in varied]
    found += [("start", shipped(f"start {seconds} s"), World(start_seconds=seconds)) for seconds in (60, 600)]
    found += [("noise", shipped(f"noise {seed}"), World(seed=seed)) for seed in SEEDS]
    return found


def simulate(case: tuple[str, Strategy, World], hours: float) -> dict[str, Any]:
    group, strategy, world = case
    begin = strategy.behaviour.least if strategy.behaviour.least == strategy.behaviour.most else 3
    trace = arrivals(PEAK_RATE, world.seed, hours * 3600)
    return {"group": group, **dataclasses.asdict(run_day(strategy, trace, world, begin=begin))}


def run(*, hours: float, only: str, file: Path | None) -> int:
    """Simulate, print the table, write the file. Return 1 if a bar is missed."""
    chosen = [case for case in cases() if only in case[1].name]
    # Strategies hold functions, which do not travel between processes: a fork has them already.
    with ProcessPoolExecutor(PROCESSES) as pool:
        rows = list(pool.map(_nth, *zip(*[(index, only, hours) for index in range(len(chosen))], strict=True)))
    document = {
        "machine": f"{os.cpu_count()} cores, {platform.machine()}",
        "model": dataclasses.asdict(MODEL),
        "rows": rows,
    }
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    print(table(rows))
    missed = bars(rows)
    print("\n".join(missed), file=sys.stderr)
    return 1 if missed else 0


def _nth(index: int, only: str, hours: float) -> dict[str, Any]:
    return simulate([case for case in cases() if only in case[1].name][index], hours)


def bars(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Return the bars that the shipped autoscaler misses: the objective, no flapping, fewer engine hours."""
    day = next((row for row in rows if row["strategy"] == SHIPPED), None)
    if day is None:
        return []
    missed = []
    if day["attainment"] < OBJECTIVE:
        missed.append(
            f"missed: {day['attainment']:.2%} of the requests within the objectives; {OBJECTIVE:.0%} is the aim"
        )
    if day["flaps"]:
        missed.append(f"missed: {day['flaps']} flaps; none is the aim")
    constants = [row for row in rows if "constant" in row["strategy"] and row["attainment"] >= OBJECTIVE]
    if constants and day["engine_hours"] >= min(row["engine_hours"] for row in constants):
        missed.append("missed: a constant fleet meets the objective with fewer engine hours")
    return missed


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Return the days as a table in Markdown."""
    names = [field.name for field in dataclasses.fields(Day)]
    lines = [
        "| | within SLO | TTFT P99 | engine hours | most engines | changes | flaps | reversals an hour |",
        "| --- | --: | --: | --: | --: | --: | --: | --: |",
    ]
    for row in rows:
        day = Day(**{name: row[name] for name in names})
        name = f"**{day.strategy}**" if day.strategy == SHIPPED else day.strategy
        p99 = "–" if day.ttft_p99 is None else f"{day.ttft_p99:.1f} s"
        cells = (name, f"{day.attainment:.2%}", p99, f"{day.engine_hours:.0f}", day.most, day.changes, day.flaps)
        lines.append(f"| {' | '.join(map(str, cells))} | {day.reversals_per_hour:.2f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table(json.loads(RESULTS.read_text(encoding="utf-8"))["rows"]))
