"""How the rows of locust's statistics went: now and then a point, over the last ten seconds as in locust's charts."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

import gevent

from llm_bench.locust_ui.rows import METRICS

INTERVAL = 2.0
"""Seconds, as locust's web UI."""
POINTS = 900
"""Half an hour; then the oldest go."""
QUANTILES = (0.5, 0.99)

Row = tuple[str, str]
"""(class, metric)"""


@dataclass(frozen=True, slots=True)
class HistoryPoint:
    at: float
    """Seconds since the test began."""
    values: dict[Row, tuple[float, ...]]
    """Milliseconds at QUANTILES, of the rows that had any within the window."""


@dataclass(slots=True)
class History:
    points: deque[HistoryPoint] = field(default_factory=lambda: deque(maxlen=POINTS))
    _began: float = field(default_factory=monotonic)

    def begin(self, **_: Any) -> None:
        """A test starts: locust's `test_start`."""
        self.points.clear()
        self._began = monotonic()

    def watch(self, environment: Any) -> None:
        """Run next to the tests, without end."""
        while True:
            gevent.sleep(INTERVAL)
            if environment.runner is not None and environment.runner.state in ("spawning", "running"):
                self.sample(environment.stats)

    def sample(self, stats: Any) -> None:
        values = {}
        for (name, metric), entry in sorted(stats.entries.items()):
            if metric in METRICS and entry.num_requests:
                found = [_current(entry, quantile) for quantile in QUANTILES]
                if None not in found:
                    values[name, metric] = tuple(value for value in found if value is not None)
        self.points.append(HistoryPoint(monotonic() - self._began, values))


def _current(entry: Any, quantile: float) -> float | None:
    """Over the last ten seconds; of all there is while there are not ten."""
    value: float | None = entry.get_current_response_time_percentile(quantile)
    if value is None:
        value = entry.get_response_time_percentile(quantile)
    return value
