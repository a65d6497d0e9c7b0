"""A scrape of metrics: samples by name, summed over the labels of replicas, and the histograms among them."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass, field

from llm_contract.exposition import read_number, read_samples


@dataclass(slots=True)
class Exposition:
    """One scrape; values of the same name are summed over all labels, those of buckets over all but their bound."""

    values: dict[str, float] = field(default_factory=dict)
    buckets: dict[str, dict[float, float]] = field(default_factory=dict)
    """Cumulated counts by upper bound, by the histogram's name without `_bucket`."""


def parse_exposition(lines: Iterable[bytes]) -> Exposition:
    """Read the samples; skip malformed lines and values that are not finite."""
    parsed = Exposition()
    for sample in read_samples(lines):
        name = sample.name.decode()
        bound = sample.labels.get(b"le") if name.endswith("_bucket") else None
        if bound is None:
            parsed.values[name] = min(parsed.values.get(name, 0.0) + sample.value, sys.float_info.max)
        elif (upper := read_number(bound)) >= 0:
            histogram = parsed.buckets.setdefault(name.removesuffix("_bucket"), {})
            histogram[upper] = min(histogram.get(upper, 0.0) + sample.value, sys.float_info.max)
    return parsed


def histogram_delta(before: dict[float, float], after: dict[float, float]) -> list[tuple[float, float]]:
    """Return (upper bound, observations in this bucket) between two scrapes, by bound."""
    bounds = sorted(after)
    grown = [after[bound] - before.get(bound, 0.0) for bound in bounds]
    return [(bound, now - below) for bound, now, below in zip(bounds, grown, [0.0, *grown], strict=False)]


def quantile_bucket(delta: list[tuple[float, float]], quantile: float) -> tuple[float, float] | None:
    """Return the (lower, upper) bounds of the bucket that holds the quantile; None without observations."""
    total = sum(count for _, count in delta)
    if total <= 0:
        return None
    seen, lower = 0.0, 0.0
    for upper, count in delta:
        seen += count
        if seen >= quantile * total:
            return lower, upper
        lower = upper
    return lower, float("inf")
