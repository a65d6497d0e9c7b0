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
    """Return the machine's description, and print a warning if other work keeps it busy. Call it before measuring."""
    environment = describe_environment()
    load = environment.load_average or 0.0
    if load > QUIET * environment.cores:
        print(f"the load average is {load:g} on {environment.cores} cores: other work distorts the figures")
    return {**asdict(environment), "fingerprint": environment.fingerprint}


def check(bars: list[Bar]) -> bool:
    """Print each bar and return whether all hold."""
    for bar in bars:
        verdict = "holds " if bar.holds else "BROKEN"
        print(f"{verdict}  {bar.name}: {bar.measured:.4g} {bar.relation} {bar.limit:g}")
    return all(bar.holds for bar in bars)


def write(name: str, machine: dict[str, Any], bars: list[Bar], found: dict[str, Any]) -> Path:
    """Write bench/results/NAME.json: the figures, the machine, the date, the commit and the load average."""
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
