"""The recent samples of one target. Its series share their times, so that a scrape is one vectorised write.

    times    t0   t1   t2   t3  …      shape (columns,)
    values   row of series 0           shape (rows, columns); NaN where a series has no sample
             row of series 1

Selections are views. The arrays that they show never change below the columns that were there at the time: when a
block is full, or drops its oldest columns, it moves to new arrays.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from llm_monitor.series.page import Layout, Page
from llm_monitor.series.selection import NAME, Floats, Labels, Matcher, Series

FIRST_COLUMNS = 64
SLACK = 8
"""A block that is full moves to arrays with 1/SLACK more columns than it keeps."""
MOST_CACHED_SELECTIONS = 256

Rows = npt.NDArray[np.intp]


class Frame(NamedTuple):
    """The samples of one target in a span of time."""

    target: str
    labels: Sequence[Labels]
    times: Floats
    """Shape (columns,)."""
    values: Floats
    """Shape (len(labels), columns)."""


class Block:
    def __init__(self, target: str, seconds: float) -> None:
        self.target = target
        self.labels: list[Labels] = []
        """Labels by row."""
        self.ended = True
        """The last column marks the end of all series, or there is none."""
        self._seconds = seconds
        self._columns = 0
        self._dropped_columns = 0
        """Number of columns that were discarded at the beginning. `_first` and `_last` count them, too."""
        # Blocks that start together must not all move in the same cycle, so each starts with another size.
        self._times = np.zeros(FIRST_COLUMNS + zlib.crc32(target.encode()) % FIRST_COLUMNS)
        self._values = np.full((0, len(self._times)), np.nan)
        self._first = np.zeros(0, np.int64)
        self._last = np.zeros(0, np.int64)
        self._rows: dict[Labels, int] = {}
        self._by_name: dict[str, list[int]] = {}
        self._selected: dict[tuple[Matcher, ...], Rows] = {}
        self._layout: Layout | None = None
        self._layout_rows: tuple[Rows, Rows] = (np.zeros(0, np.intp), np.zeros(0, np.intp))
        self._refused: set[Labels] = set()
        self._refused_unread = 0

    @property
    def last_time(self) -> float:
        return float(self._times[self._columns - 1]) if self._columns else -np.inf

    @property
    def layout(self) -> Layout | None:
        """Layout of the last page."""
        return self._layout

    @property
    def refused(self) -> int:
        """Number of series of the last page for which there was no room."""
        return len(self._refused) + self._refused_unread

    # --- write ----------------------------------------------------------------------------------------------------

    def append(self, time: float, page: Page, room: int) -> int:
        """Write one column; make at most `room` new rows. Return the number of series that are refused from now on."""
        self._open_column(time)
        refused = 0
        if page.layout is not self._layout:
            refused = self._take_layout(page.layout, room)
        rows, positions = self._layout_rows
        self._values[rows, self._columns] = page.values if len(rows) == len(page.values) else page.values[positions]
        self._last[rows] = self._dropped_columns + self._columns
        self._times[self._columns] = time
        self._columns += 1
        self.ended = False
        return refused

    def end(self, time: float) -> None:
        """Write stale markers to all series, once."""
        if self.ended:
            return
        time = max(time, self.last_time + 0.001)
        self._open_column(time)
        self._times[self._columns] = time
        self._columns += 1
        self.ended = True

    def forget_layout(self) -> None:
        """Look at all series of the next page anew: there may be room for those that were refused."""
        self._layout = None

    def _open_column(self, time: float) -> None:
        """Make the next column free. A clock that was set back discards the samples from its future."""
        if self.last_time >= time:
            self._truncate(int(np.searchsorted(self._times[: self._columns], time)))
        if self._columns == len(self._times):
            oldest = np.searchsorted(self._times[: self._columns], time - self._seconds)
            self._move(int(oldest))

    def _take_layout(self, layout: Layout, room: int) -> int:
        new = [labels for labels in layout.labels if labels not in self._rows]
        self._add_rows(new[:room])
        refused = set(new[room:])
        unread = max(0, layout.dropped - self._refused_unread)
        count = len(refused - self._refused) + unread
        self._refused, self._refused_unread = refused, layout.dropped
        placed = [(self._rows[labels], at) for at, labels in enumerate(layout.labels) if labels in self._rows]
        rows, positions = np.array(placed, np.intp).reshape(-1, 2).T
        self._layout, self._layout_rows = layout, (rows, positions)
        return count

    def _add_rows(self, labels: list[Labels]) -> None:
        if not labels:
            return
        for row, series in enumerate(labels, len(self.labels)):
            self._rows[series] = row
            self._by_name.setdefault(dict(series)[NAME], []).append(row)
        self.labels = self.labels + labels  # a new list: a frame shows the old one
        self._selected.clear()
        here = self._dropped_columns + self._columns
        self._values = np.concatenate([self._values, np.full((len(labels), len(self._times)), np.nan)])
        self._first = np.concatenate([self._first, np.full(len(labels), here)])
        self._last = np.concatenate([self._last, np.full(len(labels), here)])

    def _truncate(self, end: int) -> None:
        """Discard the columns from `end` on."""
        has_sample = ~np.isnan(self._values[:, :end])
        from_end = has_sample[:, ::-1].argmax(axis=1) if end else 0
        self._last = np.where(has_sample.any(axis=1), self._dropped_columns + end - 1 - from_end, -1)
        self._columns = end
        self._move(0)

    def _move(self, start: int) -> None:
        """Move to new arrays, with the columns from `start` on and the series that have a sample in them."""
        kept = self._columns - start
        live = self._last >= self._dropped_columns + start
        times = np.zeros(kept + kept // SLACK + 16)
        times[:kept] = self._times[start : self._columns]
        values = np.full((int(live.sum()), len(times)), np.nan)
        values[:, :kept] = self._values[live, start : self._columns]
        self._times, self._values = times, values
        self._first, self._last = self._first[live], self._last[live]
        self._dropped_columns += start
        self._columns = kept
        if not live.all():
            self._renumber([labels for labels, keep in zip(self.labels, live.tolist(), strict=True) if keep])

    def _renumber(self, labels: list[Labels]) -> None:
        self.labels = labels
        self._rows = {series: row for row, series in enumerate(labels)}
        self._by_name = {}
        for row, series in enumerate(labels):
            self._by_name.setdefault(dict(series)[NAME], []).append(row)
        self._selected.clear()
        self._layout = None

    # --- read -----------------------------------------------------------------------------------------------------

    def select(self, matchers: tuple[Matcher, ...], start: float, end: float) -> Iterator[Series]:
        rows = self._matching(matchers)
        if not len(rows):
            return
        a, b = np.searchsorted(self._times[: self._columns], (start, end), side="right").tolist()
        if a == b:
            return
        times, values = self._times[a:b], self._values[:, a:b]
        firsts = self._first[rows] - self._dropped_columns - a
        lasts = self._last[rows] - self._dropped_columns - a
        if firsts.max() <= 0 and lasts.min() >= b - a - 1:
            for row in rows.tolist():
                yield Series(self.labels[row], times, values[row])
            return
        for row, first, last in zip(rows.tolist(), firsts.tolist(), lasts.tolist(), strict=True):
            if last >= 0 and first < b - a:
                shown = slice(max(first, 0), last + 2)  # one stale marker, if it ended
                yield Series(self.labels[row], times[shown], values[row, shown])

    def frame(self, start: float, end: float) -> Frame:
        a, b = np.searchsorted(self._times[: self._columns], (start, end), side="right").tolist()
        return Frame(self.target, self.labels, self._times[a:b], self._values[:, a:b])

    def _matching(self, matchers: tuple[Matcher, ...]) -> Rows:
        found = self._selected.get(matchers)
        if found is None:
            if len(self._selected) >= MOST_CACHED_SELECTIONS:
                self._selected.clear()
            found = self._selected[matchers] = np.array(list(self._search(matchers)), np.intp)
        return found

    def _search(self, matchers: tuple[Matcher, ...]) -> Iterator[int]:
        names = [matcher for matcher in matchers if matcher.name == NAME]
        others = [matcher for matcher in matchers if matcher.name != NAME]
        exact = {matcher.value for matcher in names if matcher.operator == "="}
        for name in exact or self._by_name:
            if name in self._by_name and all(matcher.matches(name) for matcher in names):
                for row in self._by_name[name]:
                    labels = dict(self.labels[row])
                    if all(matcher.matches(labels.get(matcher.name, "")) for matcher in others):
                        yield row
