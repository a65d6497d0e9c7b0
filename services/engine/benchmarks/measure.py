"""Helpers of the benchmarks: paired runs, their ratios, and a results file that says what was measured on what."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

ENGINE = Path(__file__).resolve().parents[1]
MODELS = ENGINE.parents[1] / "models"
RESULTS = ENGINE / "results"
BUSY = "cores_busy_with_others"
"""Key in the results: cores that other processes kept busy on average since the call of `environment`."""


@dataclass(frozen=True, slots=True)
class Runs:
    """A figure of each run of each contender; run i of all was made within one round, one after another."""

    by_name: Mapping[str, list[float]]
    unit: str

    def summary(self, baseline: str) -> dict[str, Any]:
        """Median and range of each, and median and range of its ratios to the baseline of the same round."""
        base = self.by_name[baseline]
        found = {}
        for name, figures in self.by_name.items():
            ratios = [figure / b for figure, b in zip(figures, base, strict=True)]
            found[name] = {
                self.unit: rounded(statistics.median(figures)),
                "range": [rounded(min(figures)), rounded(max(figures))],
                f"ratio_to_{baseline}": rounded(statistics.median(ratios)),
                "ratio_range": [rounded(min(ratios)), rounded(max(ratios))],
            }
        return found


def paired(contenders: Mapping[str, Callable[[], float]], rounds: int, unit: str) -> Runs:
    """Each contender's figure once a round, in turn, after one round that does not count."""
    figures: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(rounds + 1):
        for name, run in contenders.items():
            figure = run()
            if number:
                figures[name].append(figure)
    return Runs(figures, unit)


def paired_rates(contenders: Mapping[str, Callable[[], int]], rounds: int) -> Runs:
    """As `paired`, of contenders that return how many tokens they wrote."""

    def rate(run: Callable[[], int]) -> Callable[[], float]:
        def timed() -> float:
            started = time.perf_counter()
            return run() / (time.perf_counter() - started)

        return timed

    return paired({name: rate(run) for name, run in contenders.items()}, rounds, "output_tokens_per_second")


def rounded(value: float) -> float:
    """To four significant digits."""
    return float(f"{value:.4g}")


def environment() -> dict[str, Any]:
    """Call it before measuring: how busy others keep the machine from here on, `save` tells."""
    return {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "commit": _commit(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else _cpu_name(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "load_average_before": round(os.getloadavg()[0], 2),
        BUSY: _busy_seconds(),
    }


def card() -> str:
    """Return `h100` for `NVIDIA H100 80GB HBM3`, so that results of different GPUs lie next to each other."""
    return (
        torch.cuda.get_device_name().lower().removeprefix("nvidia ").split()[0] if torch.cuda.is_available() else "cpu"
    )


def save(name: str, results: Mapping[str, Any], folder: Path = RESULTS) -> None:
    """To results/NAME.json, and for people to the terminal."""
    busy, ours, seconds = (now - before for now, before in zip(_busy_seconds(), results[BUSY], strict=True))
    text = json.dumps({"benchmark": name, **results, BUSY: round(max(0.0, busy - ours) / seconds, 2)}, indent=2)
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.json").write_text(text + "\n", encoding="utf-8")
    print(text)


def _busy_seconds() -> tuple[float, float, float]:
    """Return the processor time of the whole machine, that of this process and its children, and the time."""
    own, stat = os.times(), Path("/proc/stat")
    line = stat.read_text(encoding="ascii").splitlines()[0] if stat.exists() else "cpu 0 0 0 0 0 0 0 0"
    user, nice, system, _idle, _waiting, irq, softirq, steal = map(int, line.split()[1:9])
    busy = (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
    return busy, sum(own[:4]), time.monotonic()


def heldout() -> str:
    """Text that no shipped model was trained on."""
    return (MODELS / "eval" / "heldout.txt").read_text(encoding="utf-8").removeprefix("<|endoftext|>")


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{len(names)} x {names[0]}" if names else platform.machine()


def _commit() -> str:
    try:
        done = subprocess.run(("git", "rev-parse", "--short", "HEAD"), cwd=ENGINE, capture_output=True, check=False)
    except FileNotFoundError:
        return "unknown"
    return done.stdout.decode().strip() or "unknown"
