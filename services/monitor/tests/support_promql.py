"""A `Source` of lists, for tests."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from llm_monitor.series import Labels, Matcher, Series, labels_of
from llm_monitor.series.selection import NAME


class Memory:
    """Samples in a list of series."""

    def __init__(self) -> None:
        self.series: list[Series] = []

    def add(self, name: str, samples: Sequence[tuple[float, float]], **labels: str) -> Memory:
        times, values = np.array(samples, float).reshape(-1, 2).T
        self.series.append(Series(labels_of({NAME: name, **labels}), times, values))
        return self

    def rows(self, labels: Sequence[Labels], times: np.ndarray, values: np.ndarray) -> None:
        """Add series that share their times, as those of one target do."""
        self.series += [Series(each, times, row) for each, row in zip(labels, values, strict=True)]

    def select(self, matchers: Sequence[Matcher], start: float, end: float) -> list[Series]:
        chosen = []
        for each in self.series:
            labels = dict(each.labels)
            if all(matcher.matches(labels.get(matcher.name, "")) for matcher in matchers):
                low, high = np.searchsorted(each.times, [start, end], side="right")
                if high > low:
                    chosen.append(Series(each.labels, each.times[low:high], each.values[low:high]))
        return chosen
