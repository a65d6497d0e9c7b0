"""Prometheus' text format, as far as a benchmark needs it: samples by name, summed over the labels that tell replicas
apart, and the histograms among them."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field

_SAMPLE = re.compile(rb"(?P<name>[a-zA-Z_:][\w:]*)(\{(?P<labels>.*)\})?\s+(?P<value>\S+)(\s+-?\d+)?\s*")
_BOUND = re.compile(rb'(?:^|,)\s*le="([^"]+)"')


@dataclass(slots=True)
class Exposition:
    """One scrape; values of the same name are summed over all labels, those of buckets over all but their bound."""

    values: dict[str, float] = field(default_factory=dict)
    buckets: dict[str, dict[float, float]] = field(default_factory=dict)
    """Cumulated counts by upper bound, by the histogram's name without `_bucket`."""


def parse_exposition(lines: Iterable[bytes]) -> Exposition:
    """Read the samples; lines that are none, and values that are no finite number, are passed over."""
    parsed = Exposition()
    for line in lines:
        match = _SAMPLE.fullmatch(line)
        if not match:
            continue
        name, value = match["name"].decode(), _number(match["value"])
        if not math.isfinite(value):
            continue
        found = _BOUND.search(match["labels"] or b"")
        if not name.endswith("_bucket") or not found:
            parsed.values[name] = min(parsed.values.get(name, 0.0) + value, sys.float_info.max)
        elif (bound := _number(found[1])) >= 0:
            histogram = parsed.buckets.setdefault(name.removesuffix("_bucket"), {})
            histogram[bound] = min(histogram.get(bound, 0.0) + value, sys.float_info.max)
    return parsed


def _number(text: bytes) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def histogram_delta(before: dict[float, float], after: dict[float, float]) -> list[tuple[float, float]]:
    """(upper bound, observations in this bucket) between two scrapes, by bound."""
    bounds = sorted(after)
    grown = [after[bound] - before.get(bound, 0.0) for bound in bounds]
    return [(bound, now - below) for bound, now, below in zip(bounds, grown, [0.0, *grown], strict=False)]


def quantile_bucket(delta: list[tuple[float, float]], quantile: float) -> tuple[float, float] | None:
    """(lower, upper) bound of the bucket that holds the quantile; None without observations."""
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
