"""All samples as one `Source`: the head for the present, the history for what is older than the head."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

import numpy as np

from llm_monitor.history.levels import Level, to_ms
from llm_monitor.history.store import Store
from llm_monitor.series.head import Head
from llm_monitor.series.selection import Labels, Matcher, Series


class Storage:
    """A `Source`. A range's start decides on the resolution of what is read from the history."""

    def __init__(self, head: Head, store: Store | None = None, now: Callable[[], float] = time.time) -> None:
        self.head = head
        self.store = store
        self._now = now

    def resolution(self, start: float) -> float:
        """Return the seconds between the samples of a range that begins at `start`; 0 if the head has all of it.

        A window of `rate` needs at least two samples, so it has to be longer: four times the resolution is safe.
        """
        if self.store is None or start >= self.head.begin(self._now()):
            return 0.0
        return self.store.levels[self._level(start)].step / 1000

    def select(self, matchers: Sequence[Matcher], start: float, end: float) -> list[Series]:
        recent = self.head.select(matchers, start, end)
        begin = self.head.begin(self._now())
        if self.store is None or start >= begin:
            return recent
        pieces: dict[Labels, list[Series]] = {}
        at = start
        for level in range(self._level(start), -1, -1):
            until = min(end, begin, self.store.closed(level) / 1000 if level else math.inf)
            if until > at:
                for series in self.store.select(level, matchers, at, until):
                    pieces.setdefault(series.labels, []).append(series)
                at = until
        for series in recent:
            if not np.isnan((rest := _after(series, at)).values).all():
                pieces.setdefault(series.labels, []).append(rest)
        return [_joined(parts) for parts in pieces.values()]

    def _level(self, start: float) -> int:
        """Return the finest level that still has everything since `start`, or the coarsest."""
        assert self.store is not None
        age = to_ms(self._now() - start)
        levels: tuple[Level, ...] = self.store.levels
        return next((number for number, level in enumerate(levels) if age <= level.keep), len(levels) - 1)


def _after(series: Series, time: float) -> Series:
    first = int(np.searchsorted(series.times, time, side="right"))
    return Series(series.labels, series.times[first:], series.values[first:])


def _joined(parts: list[Series]) -> Series:
    if len(parts) == 1:
        return parts[0]
    times = np.concatenate([part.times for part in parts])
    values = np.concatenate([part.values for part in parts])
    return Series(parts[0].labels, times, values)
