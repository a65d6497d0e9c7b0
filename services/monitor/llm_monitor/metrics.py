"""The monitor's metrics about itself. Their names are in `llm_contract.monitor_metrics`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

from llm_contract import monitor_metrics as names
from llm_contract.metrics import Metric

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

disable_created_metrics()  # type: ignore[no-untyped-call]

M = TypeVar("M", Counter, Gauge, Histogram)


class MonitorMetrics:
    """All metrics, each made when its owner asks for it: a monitor without history has none about it."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._made: dict[str, Counter | Gauge | Histogram] = {}
        ProcessCollector(registry=self._registry)

    def counter(self, metric: Metric) -> Counter:
        return self._get(metric, lambda: Counter(metric.name, metric.help, metric.labels, registry=self._registry))

    def gauge(self, metric: Metric) -> Gauge:
        return self._get(metric, lambda: Gauge(metric.name, metric.help, metric.labels, registry=self._registry))

    def histogram(self, metric: Metric) -> Histogram:
        return self._get(
            metric,
            lambda: Histogram(metric.name, metric.help, metric.labels, registry=self._registry, buckets=metric.buckets),
        )

    def forget_target(self, target: str) -> None:
        """Remove the series about a target that is gone."""
        for metric in (names.SERIES_DROPPED, names.GARBAGE_LINES, names.CLOCK_SKEW):
            if metric.name in self._made:
                self._made[metric.name].remove_by_labels({"target": target})

    def render(self) -> bytes:
        return generate_latest(self._registry)

    def _get(self, metric: Metric, make: Callable[[], M]) -> M:
        if metric.name not in self._made:
            self._made[metric.name] = make()
        return self._made[metric.name]  # type: ignore[return-value]
