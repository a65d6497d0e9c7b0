"""The requests that count: those that were due while the target ran steadily.

    warm_up: auto | seconds      trimmed at the start; default 0
    cool_down: auto | seconds    trimmed at the end; default 0

`auto` at the start is MSER-5 (White 1997): it takes the TTFT of batches of five requests, by scheduled time, and trims
at the point in the first half after which the standard error of the mean is smallest. A run that never becomes steady,
such as an overload whose queue grows to its end, has no such point, and nothing is trimmed.

`auto` at the end is the median time of a request, at most a tenth of the window. Requests due after that point are
served while load is already falling, so they are left out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from llm_bench.measure.record import RequestRecord
from llm_bench.workload.scenario import Trim

BATCH = 5
LONGEST_COOL_DOWN = 0.1


@dataclass(frozen=True, slots=True)
class SteadyWindow:
    """The part of a run that counts: requests due in [start, end), in seconds from its start."""

    start: float
    end: float

    @property
    def is_trimmed(self) -> bool:
        return self.start > 0 or math.isfinite(self.end)

    def holds(self, record: RequestRecord) -> bool:
        return record.scheduled_at is not None and self.start <= record.scheduled_at < self.end


def steady_window(records: Sequence[RequestRecord], duration: float, warm_up: Trim, cool_down: Trim) -> SteadyWindow:
    start = _warm_up(records) if warm_up == "auto" else warm_up
    cut = _cool_down(records, duration) if cool_down == "auto" else cool_down
    end = duration - cut if cut else math.inf
    return SteadyWindow(start, end) if start < min(end, duration) else SteadyWindow(0.0, math.inf)


def _warm_up(records: Sequence[RequestRecord]) -> float:
    done = sorted((r.scheduled_at or 0.0, r.ttft) for r in records if r.ok and r.ttft is not None)
    batches = len(done) // BATCH
    if batches < 2 * BATCH:
        return 0.0
    means = np.array([ttft for _, ttft in done[: batches * BATCH]]).reshape(batches, BATCH).mean(axis=1)
    first = truncation(means)
    return done[first * BATCH][0] if first else 0.0


def truncation(means: np.ndarray) -> int:
    """Return the number of batches to trim: the one that minimises (variance of the rest) / (number of the rest).

    If that is at the end of the first half, the series has not settled, and the result is 0.
    """
    half = len(means) // 2
    errors = [means[cut:].var() / (len(means) - cut) for cut in range(half + 1)]
    best = int(np.argmin(errors))
    return best if best < half else 0


def _cool_down(records: Sequence[RequestRecord], duration: float) -> float:
    lengths = [record.e2e for record in records if record.ok and record.e2e is not None]
    return min(float(np.median(lengths)), LONGEST_COOL_DOWN * duration) if lengths else 0.0
