"""The engines' metrics, read from the pool at a scrape: an added engine appears, and a removed one disappears."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from llm_contract import gateway_metrics as names
from llm_contract.metrics import Metric
from llm_gateway.engines import Engine, EnginePool

Family = GaugeMetricFamily | CounterMetricFamily

VALUES: tuple[tuple[Metric, Callable[[Engine], float]], ...] = (
    (names.IN_FLIGHT, lambda engine: engine.in_flight),
    (names.IN_FLIGHT_LIMIT, lambda engine: engine.max_in_flight),
    (names.ENGINE_UP, lambda engine: engine.up),
    (names.ENGINE_KV_USED, lambda engine: engine.budget.used),
    (names.ENGINE_KV_BUDGET, lambda engine: engine.budget.capacity),
    (names.ENGINE_BREAKER, lambda engine: engine.breaker.state),
    (names.ENGINE_EJECTIONS, lambda engine: engine.ejections),
)


class EngineCollector(Collector):
    """Exports one series for each engine and metric."""

    def __init__(self, pool: EnginePool) -> None:
        self._pool = pool

    def collect(self) -> Iterator[Family]:
        engines = self._shown()
        for metric, value in VALUES:
            family = _family(metric)
            for engine in engines:
                family.add_metric([engine.name], float(value(engine)))
            yield family

    def _shown(self) -> list[Engine]:
        """Return all engines, with those that drain unless a new engine has their name: a series must be unique."""
        by_name = {engine.name: engine for engine in (*self._pool.draining, *self._pool.engines)}
        return list(by_name.values())


def _family(metric: Metric) -> Family:
    kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
    return kind(metric.name, metric.help, labels=metric.labels)
