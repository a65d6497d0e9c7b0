"""Several runs of one scenario together: the mean of a figure over the runs, with its t-interval.

The unit here is the run, not the request. Requests of one run share its queue, its caches and the state of the machine,
so they are not independent samples of how another run would go.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from llm_bench.analyse.figures import Figure, read_figure
from llm_bench.analyse.t_distribution import t_quantile
from llm_bench.measure.stats import CONFIDENCE
from llm_bench.measure.summary import RunSummary

HEADLINES = ("ttft_p50", "ttft_p99", "tpot_p50", "e2e_p50", "output_tokens_per_second", "slo_attainment")
"""Figures of each class in tables of repetitions and comparisons."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over repetitions and its 95% interval; without a second run both ends are None."""

    value: float
    low: float | None
    high: float | None
    count: int

    @property
    def half_width(self) -> float | None:
        return None if self.high is None else self.high - self.value


def mean_interval(values: Sequence[float], confidence: float = CONFIDENCE) -> Estimate:
    """Return mean ± t(n - 1) s / sqrt(n). Raises ValueError without values."""
    if not values:
        raise ValueError("no values")
    count, mean = len(values), math.fsum(values) / len(values)
    if count == 1:
        return Estimate(mean, None, None, 1)
    half = t_quantile(0.5 + confidence / 2, count - 1) * deviation(values) / math.sqrt(count)
    return Estimate(mean, mean - half, mean + half, count)


def deviation(values: Sequence[float]) -> float:
    """Sample standard deviation, of at least two values."""
    mean = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))


def estimate_figures(runs: Sequence[RunSummary]) -> dict[str, Estimate]:
    """Return the mean of each headline figure over the runs, by name; figures that a run lacks are left out."""
    estimates = {}
    for figure in headline_figures(runs[0]):
        values = [value for run in runs if (value := read_figure(run, figure)) is not None]
        if len(values) == len(runs):
            estimates[figure.name] = mean_interval(values)
    return estimates


def headline_figures(summary: RunSummary) -> list[Figure]:
    return [Figure(name, key) for name in summary.classes for key in HEADLINES]


def repetitions_needed(values: Sequence[float], precision: float, confidence: float = CONFIDENCE) -> int:
    """Return how many runs bring the interval's half width below `precision` x mean, given the spread so far."""
    spread = deviation(values) / abs(math.fsum(values) / len(values))
    count = 2
    while t_quantile(0.5 + confidence / 2, count - 1) * spread / math.sqrt(count) > precision:
        count += 1 + count // 20  # larger steps where single runs no longer matter
    return count
