"""The history of locust's statistics: every two seconds a point, over the last ten seconds as in locust's charts."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

import gevent

from llm_bench.locust_ui.rows import METRICS

INTERVAL = 2.0
"""Seconds, as in locust's web UI."""
POINTS = 900
"""Half an hour; older points are dropped."""
QUANTILES = (0.5, 0.99)

Row = tuple[str, str]
"""(class, metric)"""


@dataclass(frozen=True, slots=True)
class HistoryPoint:
    at: float
    """Seconds since the test began."""
    values: dict[Row, tuple[float, ...]]
    """Milliseconds at QUANTILES, for rows with values in the window."""


@dataclass(slots=True)
class History:
    points: deque[HistoryPoint] = field(default_factory=lambda: deque(maxlen=POINTS))
    _began: float = field(default_factory=monotonic)

    def begin(self, **_: Any) -> None:
        """Clear the history when a test starts (locust's `test_start` event)."""
        self.points.clear()
        self._began = monotonic()

    def watch(self, environment: Any) -> None:
        """Sample for as long as the process runs."""
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
    """Return the quantile over the last ten seconds, or over the whole test while it is shorter."""
    value: float | None = entry.get_current_response_time_percentile(quantile)
    if value is None:
        value = entry.get_response_time_percentile(quantile)
    return value
