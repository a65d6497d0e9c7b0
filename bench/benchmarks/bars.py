"""Helpers of the benchmarks here: the machine, the bars, and results on disk, which pages quote."""

from __future__ import annotations

import os
import subprocess
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import orjson

from llm_bench.results.environment import describe_environment

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "bench" / "results"
QUIET = 0.5
"""Load average, per core, below which a machine has little else to do."""


@dataclass(frozen=True, slots=True)
class Bar:
    name: str
    measured: float
    relation: Literal["<=", ">="]
    limit: float

    @property
    def holds(self) -> bool:
        return self.measured >= self.limit if self.relation == ">=" else self.measured <= self.limit


def describe_machine() -> dict[str, Any]:
    """Before anything is measured; says so if others are busy on it."""
    environment = describe_environment()
    load = environment.load_average or 0.0
    if load > QUIET * environment.cores:
        print(f"the load average is {load:g} on {environment.cores} cores: something else runs, figures will suffer")
    return {**asdict(environment), "fingerprint": environment.fingerprint}


def check(bars: list[Bar]) -> bool:
    """Prints each, and says whether all hold."""
    for bar in bars:
        verdict = "holds " if bar.holds else "BROKEN"
        print(f"{verdict}  {bar.name}: {bar.measured:.4g} {bar.relation} {bar.limit:g}")
    return all(bar.holds for bar in bars)


def write(name: str, machine: dict[str, Any], bars: list[Bar], found: dict[str, Any]) -> Path:
    """bench/results/NAME.json: what was measured, on what, when, at which commit, and what else the machine did."""
    values = {
        "benchmark": name,
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "commit": _commit(),
        "machine": machine,
        "load_average_after": round(os.getloadavg()[0], 2),
        "bars": [{**asdict(bar), "holds": bar.holds} for bar in bars],
        **found,
    }
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / f"{name}.json"
    path.write_bytes(orjson.dumps(values, option=orjson.OPT_INDENT_2) + b"\n")
    return path


def _commit() -> str:
    done = subprocess.run(("git", "rev-parse", "--short", "HEAD"), cwd=ROOT, capture_output=True, check=False)
    return done.stdout.decode().strip() or "unknown"
