"""A trace as arrivals: scaled in time and in rate.

`speed` 60 replays an hour in a minute, at 60 times the recorded rate. `rate_scale` changes the rate at the same speed:
below 1 it leaves rows out evenly, above 1 it repeats rows at random times before the next row.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, PositiveFloat

from llm_bench.errors import ScenarioError
from llm_traces import BadRowError, RequestTrace, TraceError, TraceRow, read_trace


class TraceArrivals(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["trace"]
    file: Path
    speed: PositiveFloat = 1.0
    """Recorded seconds per second of the run."""
    rate_scale: PositiveFloat = 1.0
    skip_bad_rows: bool = False

    def read(self) -> RequestTrace:
        """Return the trace. Raises ScenarioError, which names file and line."""
        return _read(self.file, self.skip_bad_rows)

    def mean_rate(self, duration: float) -> float:
        return self.rate_scale * sum(row.at < duration * self.speed for row in self.read().rows) / duration

    def scaled(self, factor: float) -> Self:
        return self.model_copy(update={"rate_scale": self.rate_scale * factor})

    def draw_rows(self, duration: float, rng: np.random.Generator) -> list[TraceRow]:
        """Return the rows of the run's first `duration` seconds, at their times in the run."""
        rows = [replace(row, at=row.at / self.speed) for row in self.read().rows if row.at < duration * self.speed]
        return rows if self.rate_scale == 1 else _multiply(rows, self.rate_scale, duration, rng)


@cache  # a scenario reads its trace for the rate and for the schedule, and the file can be large
def _read(path: Path, skip_bad_rows: bool) -> RequestTrace:
    try:
        return read_trace(path, skip_bad_rows=skip_bad_rows)
    except BadRowError as error:
        raise ScenarioError(f"{error}; --skip-bad-rows leaves such rows out") from error
    except TraceError as error:
        raise ScenarioError(str(error)) from error


def _multiply(rows: list[TraceRow], factor: float, duration: float, rng: np.random.Generator) -> list[TraceRow]:
    """Repeat each row `factor` times on average, spread evenly (systematic sampling)."""
    marks = np.floor(np.arange(len(rows) + 1) * factor + rng.uniform()).astype(int)
    ends = [*(row.at for row in rows[1:]), duration]
    copies = []
    for row, end, count in zip(rows, ends, np.diff(marks), strict=True):
        copies += [row] * min(count, 1)
        copies += [replace(row, at=float(at)) for at in rng.uniform(row.at, end, size=max(count - 1, 0))]
    return sorted(copies, key=lambda row: row.at)
