"""What the benchmarks share: paired runs, their ratios, and a results file that says what was measured on what."""

from __future__ import annotations

import json
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

ENGINE = Path(__file__).resolve().parents[1]
MODELS = ENGINE.parents[1] / "models"
RESULTS = ENGINE / "results"


@dataclass(frozen=True, slots=True)
class Rates:
    """Tokens per second of each run of each contender; run i of all was made within one round."""

    by_name: Mapping[str, list[float]]

    def summary(self, baseline: str) -> dict[str, Any]:
        """Median and range of each, and the median of its ratios to the baseline of the same round."""
        base = self.by_name[baseline]
        return {
            name: {
                "output_tokens_per_second": round(statistics.median(rates), 1),
                "range": [round(min(rates), 1), round(max(rates), 1)],
                f"ratio_to_{baseline}": round(statistics.median(r / b for r, b in zip(rates, base, strict=True)), 2),
            }
            for name, rates in self.by_name.items()
        }


def paired(contenders: Mapping[str, Callable[[], int]], rounds: int) -> Rates:
    """Each contender once a round, in turn, after one run that does not count; it returns its tokens."""
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(rounds + 1):
        for name, run in contenders.items():
            started = time.perf_counter()
            tokens = run()
            if number:
                rates[name].append(tokens / (time.perf_counter() - started))
    return Rates(rates)


def save(name: str, results: dict[str, Any]) -> None:
    """To results/NAME.json, and for people to the terminal."""
    environment = {
        "device": _cpu_name(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
    text = json.dumps({**environment, **results}, indent=2)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(text + "\n", encoding="utf-8")
    print(text)


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{len(names)} x {names[0]}" if names else platform.machine()


def heldout() -> str:
    """Text that no shipped model was trained on."""
    return (MODELS / "eval" / "heldout.txt").read_text(encoding="utf-8").removeprefix("<|endoftext|>")
