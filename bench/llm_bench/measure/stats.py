"""Exact percentiles from raw samples, with their confidence intervals.

The interval of a percentile comes from order statistics: the number of samples below the true quantile is binomial
whatever the distribution, so two ranks of the sorted sample bracket it with a known probability (David & Nagaraja,
Order Statistics, 3rd ed., section 7.1). Ranks are whole numbers and would cover somewhat more than asked; each end is
interpolated between two of them to the asked probability (Nyblom 1992, Note on interpolated order statistics). Where
the sample is too small for such a rank, that end is None: the data does not bound the percentile on that side.

Samples are taken as independent. The requests of one overloaded run are not: they wait in one queue. Repeat such a run
and use the interval over the repetitions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from llm_report.percentile import percentile

CONFIDENCE = 0.95
PERCENTILES = (50, 90, 99)

Interval = tuple[float | None, float | None]


@dataclass(frozen=True, slots=True)
class Distribution:
    """One metric over many requests, in the metric's unit."""

    count: int = 0
    mean: float | None = None
    min: float | None = None
    max: float | None = None
    percentiles: dict[str, float] = field(default_factory=dict)
    """`p50`, `p90`, `p99`; empty without samples."""
    intervals: dict[str, Interval] = field(default_factory=dict)
    """95% interval of each percentile; None where the sample does not bound it."""

    @property
    def p50(self) -> float | None:
        return self.percentiles.get("p50")

    @property
    def p99(self) -> float | None:
        return self.percentiles.get("p99")


def describe(samples: Sequence[float]) -> Distribution:
    if not samples:
        return Distribution()
    values = np.sort(np.asarray(samples, dtype=np.float64))
    return Distribution(
        count=len(values),
        mean=float(values.mean()),
        min=float(values[0]),
        max=float(values[-1]),
        percentiles={f"p{p}": percentile(values, p) for p in PERCENTILES},
        intervals={f"p{p}": percentile_interval(values, p) for p in PERCENTILES},
    )


def percentile_interval(ordered: npt.NDArray[np.float64], p: float, confidence: float = CONFIDENCE) -> Interval:
    """Return the interval of the `p`-th percentile from sorted samples; each side misses with (1 - confidence) / 2."""
    side = (1 - confidence) / 2
    below = binomial_cdf(len(ordered), p / 100)
    low, high = (_limit(ordered, p / 100, below, probability) for probability in (1 - side, side))
    estimate = percentile(ordered, p)  # in tiny samples it can lie outside the ranks: widen to it
    return None if low is None else min(low, estimate), None if high is None else max(high, estimate)


def _limit(
    ordered: npt.NDArray[np.float64], quantile: float, below: npt.NDArray[np.float64], probability: float
) -> float | None:
    """Return the point between two samples that is at or below the true quantile with `probability`.

    P(X(r) <= quantile) = P(at least r of the samples lie below it) = 1 - below[r - 1], falling with r.
    """
    count = len(ordered)
    rank = int(np.searchsorted(below, 1 - probability, side="right"))  # the largest r that is still likely enough
    if not 1 <= rank < count:
        return None
    likely, unlikely = 1 - below[rank - 1], 1 - below[rank]
    odds = (probability - unlikely) / max(likely - probability, 1e-300)
    way = 1 / (1 + rank * (1 - quantile) / ((count - rank) * quantile) * odds)
    return float(ordered[rank - 1] + way * (ordered[rank] - ordered[rank - 1]))


def binomial_cdf(count: int, probability: float) -> npt.NDArray[np.float64]:
    """Return P(B <= k) for k = 0..count."""
    k = np.arange(count + 1)
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, count + 1)))])
    log_choose = log_factorial[count] - log_factorial[k] - log_factorial[count - k]
    log_pmf = log_choose + k * math.log(probability) + (count - k) * math.log1p(-probability)
    cdf: npt.NDArray[np.float64] = np.minimum(np.cumsum(np.exp(log_pmf)), 1.0)
    return cdf


def samples_needed(p: float, confidence: float = CONFIDENCE) -> int:
    """Return the fewest samples that bound the `p`-th percentile on both sides: 368 for P99."""
    rarer = max(p, 100 - p) / 100
    return math.ceil(math.log((1 - confidence) / 2) / math.log(rarer))
