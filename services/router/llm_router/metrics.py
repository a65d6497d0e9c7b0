"""The metrics of one edge. Their names are in `llm_contract.router_metrics`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal, TypeVar

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.registry import Collector

from llm_contract import router_metrics as names
from llm_contract.metrics import Metric
from llm_router.fleet import Engine, Fleet
from llm_router.fleet.fleet import Cause, FleetListener

Reattempt = Literal["retry", "replay"]
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

W = TypeVar("W", bound=MetricWrapperBase)


class Series(dict[tuple[str, ...], W]):
    """A metric's series by their labels. Each is looked up once, as `labels` takes a lock and builds a key."""

    def __init__(self, family: W) -> None:
        super().__init__()
        self.family = family

    def __missing__(self, labels: tuple[str, ...]) -> W:
        found = self[labels] = self.family.labels(*labels)
        return found

    def forget(self, place: int, label: str) -> None:
        """Delete the series with the label at that place."""
        for labels in [one for one in self if one[place] == label]:
            del self[labels]
            self.family.remove(*labels)


class RouterMetrics(FleetListener):
    """All metrics. Requests increment the counters; a scrape reads the gauges from the fleet and the queue."""

    def __init__(self, fleet: Fleet) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._requests = Series(self._counter(names.REQUESTS))
        self._attempts = Series(self._counter(names.ATTEMPTS))
        self._reattempts = Series(self._counter(names.REATTEMPTS))
        self._broken_streams = Series(self._counter(names.BROKEN_STREAMS))
        self._ejections = Series(self._counter(names.EJECTIONS))
        self._queue_wait = Series(self._histogram(names.QUEUE_WAIT))
        self._time_to_first_byte = Series(self._histogram(names.TIME_TO_FIRST_BYTE))
        self._request_seconds = Series(self._histogram(names.REQUEST_SECONDS))
        self.outcomes: dict[str, int] = {}
        """Number of finished requests by outcome, over all models."""
        self._registry.register(FleetCollector(fleet))
        fleet.subscribe(self)

    def observe_queue(self, depth: Callable[[], dict[str, int]]) -> None:
        """Export the number of waiting requests by model."""
        self._registry.register(QueueCollector(depth))

    def finished(self, model: str, policy: str, outcome: str) -> None:
        self._requests[model, policy, outcome].inc()
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1

    def attempted(self, engine: Engine, policy: str, outcome: str) -> None:
        self._attempts[engine.info.model, engine.shown, policy, outcome].inc()

    def reattempted(self, model: str, reason: Reattempt) -> None:
        self._reattempts[model, reason].inc()

    def stream_broke(self, model: str, ending: Literal["replayed", "error"]) -> None:
        self._broken_streams[model, ending].inc()

    def waited(self, model: str, seconds: float) -> None:
        self._queue_wait[(model,)].observe(seconds)

    def first_byte_after(self, model: str, seconds: float) -> None:
        self._time_to_first_byte[(model,)].observe(seconds)

    def request_took(self, model: str, seconds: float) -> None:
        self._request_seconds[(model,)].observe(seconds)

    def ejected(self, engine: Engine, cause: Cause) -> None:
        self._ejections[engine.info.model, engine.shown, cause].inc()

    def gone(self, engine: Engine) -> None:
        self._attempts.forget(1, engine.shown)
        self._ejections.forget(1, engine.shown)

    def text(self) -> bytes:
        """Return all metrics in Prometheus's text format."""
        return generate_latest(self._registry)

    def value(self, name: str, **labels: str) -> float:
        """Return the value of a series as a scrape would show it, 0 if it does not exist yet."""
        return self._registry.get_sample_value(name, labels) or 0.0

    def _counter(self, metric: Metric) -> Counter:
        return Counter(metric.name.removesuffix("_total"), metric.help, metric.labels, registry=self._registry)

    def _histogram(self, metric: Metric) -> Histogram:
        return Histogram(metric.name, metric.help, metric.labels, buckets=metric.buckets, registry=self._registry)


ENGINE_VALUES: tuple[tuple[Metric, Callable[[Engine], float]], ...] = (
    (names.ENGINE_UP, lambda engine: engine.is_up),
    (names.IN_FLIGHT, lambda engine: engine.in_flight),
    (names.LOAD, lambda engine: engine.load),
    (names.KV_USAGE, lambda engine: engine.kv_usage),
)


class FleetCollector(Collector):
    """Exports one series for each engine and gauge."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    def collect(self) -> Iterator[GaugeMetricFamily]:
        for metric, value in ENGINE_VALUES:
            family = GaugeMetricFamily(metric.name, metric.help, labels=metric.labels)
            for engine in self._fleet.engines():
                family.add_metric([engine.info.model, engine.shown], float(value(engine)))
            yield family


class QueueCollector(Collector):
    """Exports the depth of each model's queue."""

    def __init__(self, depth: Callable[[], dict[str, int]]) -> None:
        self._depth = depth

    def collect(self) -> Iterator[GaugeMetricFamily]:
        family = GaugeMetricFamily(names.QUEUE_DEPTH.name, names.QUEUE_DEPTH.help, labels=names.QUEUE_DEPTH.labels)
        for model, waiting in self._depth().items():
            family.add_metric([model], waiting)
        yield family
