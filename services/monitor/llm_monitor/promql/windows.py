"""Range vectors: windows over samples, for all steps and for all series that share their times at once.

The series of one target come from the same scrapes, so a window's bounds are looked up once per target, not per series.
A window holds the samples of start < time <= end, as since Prometheus 3.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from llm_monitor.promql.vectors import Ints, Vector
from llm_monitor.series.selection import Floats, Labels, Series


@dataclass(frozen=True, slots=True)
class Windows:
    labels: list[Labels]
    times: Floats
    """Shape (samples,)."""
    values: Floats
    """Shape (series, samples), without stale markers."""
    first: Ints
    """Shape (steps,), index of each window's first sample."""
    stop: Ints
    """Shape (steps,), index behind each window's last sample."""
    until: Floats
    """Shape (steps,), the end of each window."""
    seconds: float

    @property
    def count(self) -> Ints:
        return self.stop - self.first

    @property
    def first_index(self) -> Ints:
        """Return the index of each window's first sample; some index for a window without samples."""
        return np.minimum(self.first, self.times.size - 1)

    def last_index(self, back: int = 0) -> Ints:
        """Return the index of each window's last sample, or of the one `back` samples before it; some index if none."""
        return np.maximum(self.stop - 1 - back, 0)


def latest(series: Sequence[Series], at: Floats, *, lookback: float, times: Floats) -> tuple[Vector, Floats]:
    """Return the newest value of each series at each moment of `at`, and the sample's time of the same shape.

    There is none if it is older than `lookback` or a stale marker.
    """
    values = np.full((len(series), len(at)), np.nan)
    taken = np.zeros_like(values)
    row, labels = 0, []
    for group in _groups(series):
        group_times = group[0].times
        index = np.searchsorted(group_times, at, side="right") - 1
        sample_times = group_times[np.maximum(index, 0)]
        fresh = (index >= 0) & (sample_times > at - lookback)
        index = np.maximum(index, 0)
        rows = slice(row, row + len(group))
        values[rows] = np.where(fresh, np.array([each.values[index] for each in group]), np.nan)
        taken[rows] = sample_times
        labels += [each.labels for each in group]
        row += len(group)
    present = ~np.isnan(values)
    return Vector(labels, values, times, present), taken


def windows(series: Sequence[Series], until: Floats, seconds: float) -> Iterator[Windows]:
    """Yield the windows of the given length that end at `until`, for each group of series with the same times."""
    for group in _groups(series):
        times = group[0].times
        first = np.searchsorted(times, until - seconds, side="right")
        stop = np.searchsorted(times, until, side="right")
        low, high = int(first.min()), int(stop.max())
        if high <= low:
            continue
        values = np.array([each.values[low:high] for each in group])
        stale = np.isnan(values)
        whole = ~stale.any(axis=1)
        labels = [each.labels for each in group]
        if whole.any():
            kept = labels if whole.all() else [label for label, is_whole in zip(labels, whole, strict=True) if is_whole]
            own = values if whole.all() else values[whole]
            yield Windows(kept, times[low:high], own, first - low, stop - low, until, seconds)
        for row in np.flatnonzero(~whole):
            yield from _without_markers(Series(labels[row], times[low:high], values[row]), until, seconds)


def _without_markers(series: Series, until: Floats, seconds: float) -> Iterator[Windows]:
    kept = ~np.isnan(series.values)
    times, values = series.times[kept], series.values[kept]
    if times.size:
        first = np.searchsorted(times, until - seconds, side="right")
        stop = np.searchsorted(times, until, side="right")
        yield Windows([series.labels], times, values[None, :], first, stop, until, seconds)


def _groups(series: Sequence[Series]) -> list[list[Series]]:
    """Return the series by their times. Those of one target share an array; targets of the same cycles have equal ones.

    Few large groups matter: a hundred targets in a group each would cost a hundred times the calls.
    """
    by_object: dict[int, list[Series]] = {}
    for each in series:
        by_object.setdefault(id(each.times), []).append(each)
    groups: dict[bytes, list[Series]] = {}
    for same in by_object.values():
        if same[0].times.size:
            groups.setdefault(same[0].times.tobytes(), []).extend(same)
    return list(groups.values())
