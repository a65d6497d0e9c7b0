"""The time series behind the charts: a span of the window in slices of equal length."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from llm_gateway.sla.record import SlaVerdict
from llm_gateway.sla.summary import known, percentile, rows_of_class
from llm_gateway.sla.window import Integers, Window

SLICES = 60

Values = list[float | None]


@dataclass(frozen=True, slots=True)
class Span:
    """The time span of the charts, from `start` to `end` in seconds since 1970, in SLICES slices."""

    start: float
    end: float

    @property
    def seconds(self) -> float:
        return self.end - self.start

    def middle(self, place: int) -> float:
        """Return the middle of the slice at `place`."""
        return self.start + (place + 0.5) * self.seconds / SLICES


@dataclass(frozen=True, slots=True)
class ClassSeries:
    """One value per slice, None for a slice without a request to measure."""

    attainment: Values
    ttft_p50: Values
    ttft_p99: Values


def class_series(window: Window, name: str, span: Span) -> ClassSeries:
    rows = rows_of_class(window, name)
    places = _slices(window, span)[rows]
    slices = [rows[places == place] for place in range(SLICES)]
    ttfts = [known(window.ttft[one]) for one in slices]
    return ClassSeries(
        [_attainment(window.verdict[one]) for one in slices],
        [percentile(values, 50) for values in ttfts],
        [percentile(values, 99) for values in ttfts],
    )


def outcomes(window: Window, span: Span) -> list[list[int]]:
    """Return the number of requests for each slice and verdict."""
    cells = np.bincount(_slices(window, span) * len(SlaVerdict) + window.verdict, minlength=SLICES * len(SlaVerdict))
    return [[int(count) for count in row] for row in cells.reshape(SLICES, len(SlaVerdict))]


def _slices(window: Window, span: Span) -> Integers:
    places: Integers = ((window.time - span.start) / span.seconds * SLICES).astype(int)
    return places.clip(0, SLICES - 1)


def _attainment(verdicts: Integers) -> float | None:
    counted = int((verdicts != SlaVerdict.EXCLUDED).sum())
    return int((verdicts == SlaVerdict.MET).sum()) / counted if counted else None
