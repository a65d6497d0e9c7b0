"""Fewer samples that tell the same: each step keeps its last sample, and those without which something would vanish.

    gauge      o   the step's least and greatest value stay if they lie outside of what its neighbours span, so a peak
              / \\      of one second is still there in the range of a month
    -------o-'   `-o
    counter    o   the samples around each drop stay, so that the increase over any range is exact through restarts
             /' |
    -------o'   `--o

The first stale marker stays, with the sample before it, unless the series goes on within the step.
Every sample that is kept is a real one, with its own time: nothing is averaged.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from llm_monitor.history.chunk import Chunk, Mask

COUNTER_SUFFIXES = ("_total", "_bucket", "_count", "_sum")
"""Endings of the names of series that only rise, by convention."""


def is_counter(name: str) -> bool:
    return name.endswith(COUNTER_SUFFIXES)


def thin(chunk: Chunk, step: int, counters: Mask) -> Chunk:
    """Return the chunk with the samples to keep for steps of `step` milliseconds. `counters` says it by row."""
    if not len(chunk.times):
        return chunk
    keep = np.zeros(chunk.mask.shape, np.bool_)
    is_real = chunk.mask & ~np.isnan(chunk.values)
    previous = np.full(len(chunk.ids), np.nan)
    for columns in _steps(chunk.times, step):
        real, values = is_real[:, columns], chunk.values[:, columns]
        any_real = real.any(axis=1)
        last = real.shape[1] - 1 - real[:, ::-1].argmax(axis=1)
        last_value = values[np.arange(len(last)), last]
        rows = np.flatnonzero(any_real)
        keep[rows, columns.start + last[rows]] = True
        for extreme, outside, missing in ((np.argmin, np.less, np.inf), (np.argmax, np.greater, -np.inf)):
            at = extreme(np.where(real, values, missing), axis=1)
            bound = np.fmin(previous, last_value) if outside is np.less else np.fmax(previous, last_value)
            beyond = np.flatnonzero(any_real & outside(values[np.arange(len(at)), at], bound))
            keep[beyond, columns.start + at[beyond]] = True
        previous = np.where(any_real, last_value, previous)
    _keep_breaks(chunk, keep, is_real, counters)
    return Chunk(chunk.ids, chunk.times, chunk.values, keep).rows(np.any(keep, axis=1))


def _keep_breaks(chunk: Chunk, keep: Mask, is_real: Mask, counters: Mask) -> None:
    """Keep what is around the end of a series and around the drop of a counter. Both are rare."""
    stale = chunk.mask & ~is_real
    may_fall = (chunk.values[:, 1:] < chunk.values[:, :-1]).any(axis=1) | ~chunk.mask.all(axis=1)
    for row in np.flatnonzero(stale.any(axis=1) | (counters & may_fall)).tolist():
        columns = np.flatnonzero(chunk.mask[row])
        values = chunk.values[row, columns]
        ends = np.isnan(values[1:]) & ~np.isnan(values[:-1])
        keep[row, columns[1:][ends]] = True
        keep[row, columns[:-1][ends]] = True
        if np.isnan(values[:1]).any():
            keep[row, columns[0]] = True
        if counters[row]:
            columns = columns[~np.isnan(values)]
            values = chunk.values[row, columns]
            drops = values[1:] < values[:-1]
            keep[row, columns[1:][drops]] = True
            keep[row, columns[:-1][drops]] = True


def _steps(times: npt.NDArray[np.int64], step: int) -> Iterator[slice]:
    """Yield the columns of each step that has any. A step excludes its start and includes its end."""
    bounds = np.flatnonzero(np.diff((times - 1) // step)) + 1
    starts = [0, *bounds.tolist(), len(times)]
    for start, end in pairwise(starts):
        yield slice(start, end)
