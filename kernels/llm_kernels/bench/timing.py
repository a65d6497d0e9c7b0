"""Times of GPU work: CUDA events around each run, L2 flushed before it, the median and the quartiles' distance."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

FLUSH_BYTES = 256 * 2**20
"""Several times the L2 (50 to 60 MB on Hopper)."""
HOLD_CYCLES = 300_000
"""The GPU waits this long (about 0.16 ms) before each timed region, so that the host has queued all of it by then."""


@dataclass(frozen=True)
class Timing:
    seconds: float
    """Median."""
    spread: float
    """(third quartile - first) / median."""
    runs: int


def measure(
    prepare: Callable[[], Any], run: Callable[[Any], Any], *, budget_seconds: float = 0.15, least: int = 7
) -> Timing:
    """Time `run(prepare())` without `prepare`, for about `budget_seconds` of GPU time, at least `least` times."""
    flush = torch.empty(FLUSH_BYTES // 4, dtype=torch.int32, device="cuda")
    for _ in range(2):
        run(prepare())
    first = statistics.median(_once(flush, prepare, run) for _ in range(3))
    runs = max(least, min(100, int(budget_seconds / max(first, 2e-4))))
    times = [_once(flush, prepare, run) for _ in range(runs)]
    quartiles = statistics.quantiles(times, n=4)
    median = statistics.median(times)
    return Timing(median, (quartiles[2] - quartiles[0]) / median, runs)


def _once(flush: torch.Tensor, prepare: Callable[[], Any], run: Callable[[Any], Any]) -> float:
    argument = prepare()
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
    flush.zero_()
    torch.cuda._sleep(HOLD_CYCLES)  # type: ignore[no-untyped-call]
    begin.record()
    run(argument)
    end.record()
    end.synchronize()
    return float(begin.elapsed_time(end)) * 1e-3
