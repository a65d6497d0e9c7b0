"""Percentiles of times, in milliseconds."""

from __future__ import annotations

from collections.abc import Sequence

from llm_report.percentile import percentile


def summary(seconds: Sequence[float]) -> dict[str, float]:
    """Return p50, p90, p99 and max in milliseconds; nothing without values."""
    shares = {"p50_ms": 50, "p90_ms": 90, "p99_ms": 99, "max_ms": 100} if seconds else {}
    return {name: 1e3 * percentile(seconds, share) for name, share in shares.items()}
