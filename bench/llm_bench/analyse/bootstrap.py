"""Intervals by resampling, for what has no formula: the ratio of a percentile in two runs.

Requests are resampled in blocks of neighbours (circular block bootstrap: Politis & Romano 1992), because neighbours
shared a queue; blocks grow with the cube root of the sample, the usual rate.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from llm_bench.analyse.repetitions import Estimate
from llm_bench.measure.stats import CONFIDENCE

RESAMPLES = 2000
AT_ONCE = 10_000_000
"""Indices drawn at once: 80 MB."""

Values = npt.NDArray[np.float64]
Statistic = Callable[[Values], Values]
"""Reduces the last axis."""


def ratio_interval(a: Values, b: Values, statistic: Statistic, rng: np.random.Generator) -> Estimate:
    """Return statistic(b) / statistic(a) with its 95% interval from the resamples. Values are in order of arrival."""
    value = float(statistic(b) / statistic(a))
    ratios = resample(b, statistic, rng) / resample(a, statistic, rng)
    low, high = np.quantile(ratios, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Estimate(value, float(low), float(high), min(len(a), len(b)))


def resample(values: Values, statistic: Statistic, rng: np.random.Generator) -> Values:
    """Return `statistic` of each of RESAMPLES resamples."""
    count = len(values)
    block = round(count ** (1 / 3))
    blocks = -(-count // block)
    parts = []
    for first in range(0, RESAMPLES, per_part := max(1, AT_ONCE // count)):
        rows = min(per_part, RESAMPLES - first)
        places = (rng.integers(0, count, size=(rows, blocks))[:, :, None] + np.arange(block)) % count
        parts.append(statistic(values[places.reshape(rows, -1)[:, :count]]))
    return np.concatenate(parts)
