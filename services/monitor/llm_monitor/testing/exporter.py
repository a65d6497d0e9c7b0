"""A target's /metrics: every metric of a table of the contract, with values that a test sets.

A page is rendered when a value changed, so that a hundred exporters cost little.
"""

from __future__ import annotations

from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest

from llm_contract.metrics import Metric

TOKEN_BUCKETS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000)
"""Buckets of histograms for which vLLM takes them from the context length."""
disable_created_metrics()  # type: ignore[no-untyped-call]


class Exporter:
    """The metrics of one target."""

    def __init__(self, metrics: Sequence[Metric]) -> None:
        self._registry = CollectorRegistry()
        self._families = {metric.name: self._family(metric) for metric in metrics}
        self._page: bytes | None = None

    def set(self, metric: Metric, value: float, *labels: str) -> None:
        family = self._touch(metric, labels)
        assert isinstance(family, Gauge)
        family.set(value)

    def add(self, metric: Metric, amount: float, *labels: str) -> None:
        family = self._touch(metric, labels)
        assert isinstance(family, Counter)
        family.inc(amount)

    def observe(self, metric: Metric, value: float, *labels: str) -> None:
        family = self._touch(metric, labels)
        assert isinstance(family, Histogram)
        family.observe(value)

    def page(self) -> bytes:
        """Return the exposition, text format 0.0.4."""
        if self._page is None:
            self._page = generate_latest(self._registry)
        return self._page

    def _touch(self, metric: Metric, labels: Sequence[str]) -> Counter | Gauge | Histogram:
        self._page = None
        family = self._families[metric.name]
        return family.labels(*labels) if labels else family

    def _family(self, metric: Metric) -> Counter | Gauge | Histogram:
        if metric.kind == "histogram":
            buckets = metric.buckets or TOKEN_BUCKETS
            return Histogram(metric.name, metric.help, metric.labels, registry=self._registry, buckets=buckets)
        kind = Counter if metric.kind == "counter" else Gauge
        return kind(metric.name, metric.help, metric.labels, registry=self._registry)
