"""The counter of spans, for a service's registry. It exists only while tracing is on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict

from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from llm_contract.metrics import SPANS
from llm_proxy.telemetry.tracing import SpanCounts


class SpanCollector(Collector):
    """Reads the counts when it is scraped."""

    def __init__(self, counts: SpanCounts) -> None:
        self._counts = counts

    def collect(self) -> Iterator[CounterMetricFamily]:
        family = CounterMetricFamily(SPANS.name, SPANS.help, labels=SPANS.labels)
        for result, count in asdict(self._counts).items():
            family.add_metric([result], count)
        yield family
