"""Percentiles of times, in milliseconds, and the correction of p-values for their number."""

from __future__ import annotations

from collections.abc import Sequence

from llm_report.percentile import percentile


def summary(seconds: Sequence[float]) -> dict[str, float]:
    """Return p50, p90, p99 and max in milliseconds; nothing without values."""
    shares = {"p50_ms": 50, "p90_ms": 90, "p99_ms": 99, "max_ms": 100} if seconds else {}
    return {name: 1e3 * percentile(seconds, share) for name, share in shares.items()}


def holm(p_values: Sequence[float], level: float) -> list[bool]:
    """Return which hypotheses are rejected, so that any false rejection has at most probability `level`.

    Holm's step-down (1979): the k-th smallest of m p-values, and all before it, is at most level / (m - k + 1).
    """
    rejected = [False] * len(p_values)
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda index: p_values[index])):
        if p_values[index] > level / (len(p_values) - rank):
            break
        rejected[index] = True
    return rejected
