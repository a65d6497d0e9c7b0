"""Percentiles, by the nearest rank."""

from __future__ import annotations

import math
from collections.abc import Sequence


def percentile(ordered: Sequence[float], share: float) -> float:
    """Return the smallest value that `share` of the sorted values do not exceed, NaN without values."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else math.nan


def summary(seconds: Sequence[float]) -> dict[str, float]:
    """Return p50, p90, p99 and max in milliseconds."""
    ordered = sorted(seconds)
    shares = {"p50_ms": 0.5, "p90_ms": 0.9, "p99_ms": 0.99, "max_ms": 1.0}
    return {name: percentile(ordered, share) * 1000 for name, share in shares.items()}
