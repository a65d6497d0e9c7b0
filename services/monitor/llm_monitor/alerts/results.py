"""Results of rules, as series: recorded values, and `ALERTS` as Prometheus writes it.

Later rules, panels and Grafana read them like scraped series. They go to the head, or are kept here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import numpy as np

from llm_monitor.series import Labels, Matcher, Series, Source
from llm_monitor.series.head import Head
from llm_monitor.series.page import Layout, Page
from llm_monitor.series.selection import NAME

Written = list[tuple[Labels, float]]
Write = Callable[[str, float, Written], None]
"""Takes the samples of one rule's evaluation. A series that the rule's last evaluation had, and this has not, ends."""

MAX_SAMPLES: Final = 5_000
"""Samples kept of one series at least: over an hour at one evaluation a second."""
MAX_SERIES: Final = 10_000
RETENTION: Final = 3600.0
"""Seconds after which a series that ended makes room for others, if there are too many."""


class _Column:
    """The newest samples of one series, between `MAX_SAMPLES` and twice as many."""

    def __init__(self) -> None:
        self._times, self._values, self._count = np.empty(64), np.empty(64), 0

    def append(self, at: float, value: float) -> None:
        if self._count == len(self._times):
            kept = min(self._count, MAX_SAMPLES)
            size = min(2 * self._count, 2 * MAX_SAMPLES)
            for name in ("_times", "_values"):
                grown = np.empty(size)
                grown[:kept] = getattr(self, name)[self._count - kept :]
                setattr(self, name, grown)
            self._count = kept
        self._times[self._count], self._values[self._count] = at, value
        self._count += 1

    @property
    def newest(self) -> float:
        return float(self._times[self._count - 1])

    def cut(self, labels: Labels, start: float, end: float) -> Series:
        times = self._times[: self._count]
        low, high = np.searchsorted(times, [start, end], side="right")
        return Series(labels, times[low:high], self._values[low:high])


class Results:
    """Results in memory, and the source that they came from, as one source."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._by_name: dict[str, dict[Labels, _Column]] = {}
        self._alive: dict[str, set[Labels]] = {}

    def write(self, rule: str, at: float, samples: Written) -> None:
        now = {labels for labels, _ in samples}
        ended = self._alive.get(rule, set()) - now
        self._alive[rule] = now
        for labels, value in (*samples, *((labels, math.nan) for labels in ended)):
            columns = self._by_name.setdefault(dict(labels)[NAME], {})
            if labels not in columns:
                if self._count() >= MAX_SERIES:
                    self._forget(at - RETENTION)
                    if self._count() >= MAX_SERIES:
                        continue
                columns[labels] = _Column()
            columns[labels].append(at, value)

    def select(self, matchers: Sequence[Matcher], start: float, end: float) -> list[Series]:
        named = next((matcher.value for matcher in matchers if (matcher.name, matcher.operator) == (NAME, "=")), None)
        families = self._by_name.values() if named is None else (self._by_name.get(named, {}),)
        own = (
            column.cut(labels, start, end)
            for family in families
            for labels, column in family.items()
            if _matches(labels, matchers)
        )
        return [*self._source.select(matchers, start, end), *(each for each in own if each.times.size)]

    def _count(self) -> int:
        return sum(map(len, self._by_name.values()))

    def _forget(self, before: float) -> None:
        for columns in self._by_name.values():
            for labels in [each for each, column in columns.items() if column.newest < before]:
                del columns[labels]


class HeadWriter:
    """Results to the head, each rule as a target of its own: its samples have the time of its evaluation."""

    def __init__(self, head: Head) -> None:
        self._head = head
        self._layouts: dict[str, Layout] = {}

    def write(self, rule: str, at: float, samples: Written) -> None:
        layout = self._layouts.get(rule)
        labels = tuple(each for each, _ in samples)
        if layout is None or layout.labels != labels:
            if layout is None and not labels:
                return
            layout = self._layouts[rule] = Layout(labels)
        values = np.fromiter((value for _, value in samples), np.float64, len(samples))
        self._head.append(f"rule {rule}", at, Page(layout, values))


def _matches(labels: Labels, matchers: Iterable[Matcher]) -> bool:
    values = dict(labels)
    return all(matcher.matches(values.get(matcher.name, "")) for matcher in matchers)
