"""The metrics of one edge. Their names are in `llm_contract.router_metrics`.

Requests count in plain dictionaries, and a scrape turns them into Prometheus's families. The client library's own
counters take a lock and build a key for each of the half dozen figures of a request.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate
from typing import Literal, get_args

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from llm_contract import router_metrics as names
from llm_contract.metrics import Metric
from llm_proxy.telemetry.metrics import SpanCollector
from llm_proxy.telemetry.tracing import SpanCounts
from llm_router.fleet import Engine, Fleet
from llm_router.fleet.fleet import Cause, FleetListener

Reattempt = Literal["retry", "replay"]
Ending = Literal["replayed", "error"]
Labels = tuple[str, ...]
Family = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Count(Counter[Labels]):
    """A counter's values by their labels."""

    def __init__(self, metric: Metric) -> None:
        super().__init__()
        self.metric = metric

    def family(self) -> Family:
        family = CounterMetricFamily(self.metric.name, self.metric.help, labels=self.metric.labels)
        for labels, value in self.items():
            family.add_metric(labels, value)
        return family

    def expect(self, labels: Iterable[Labels]) -> None:
        """Count from 0 for labels that have no event yet."""
        for one in labels:
            self.setdefault(one, 0)

    def forget(self, place: int, label: str) -> None:
        """Delete the series with the label at that place."""
        for labels in [one for one in self if one[place] == label]:
            del self[labels]


class Distribution:
    """A histogram by one label. Bucket i counts the values up to bound i and above the one before; the last is open."""

    def __init__(self, metric: Metric) -> None:
        self.metric = metric
        self._buckets: dict[str, list[int]] = {}
        self._sums: defaultdict[str, float] = defaultdict(float)

    def observe(self, label: str, value: float) -> None:
        buckets = self._buckets.get(label)
        if buckets is None:
            buckets = self._buckets[label] = [0] * (len(self.metric.buckets) + 1)
        buckets[bisect_left(self.metric.buckets, value)] += 1
        self._sums[label] += value

    def family(self) -> Family:
        bounds = [*map(str, map(float, self.metric.buckets)), "+Inf"]
        family = HistogramMetricFamily(self.metric.name, self.metric.help, labels=self.metric.labels)
        for label, buckets in self._buckets.items():
            family.add_metric([label], list(zip(bounds, accumulate(buckets), strict=True)), self._sums[label])
        return family


class RouterMetrics(FleetListener, Collector):
    """All metrics of an edge. A scrape reads the gauges from the fleet and from `depth`, the queue length by model."""

    def __init__(self, fleet: Fleet, depth: Callable[[], dict[str, int]]) -> None:
        self._fleet = fleet
        self._depth = depth
        self.outcomes: Counter[str] = Counter()
        """Number of finished requests by outcome, over all models."""
        self._requests = Count(names.REQUESTS)
        self._attempts = Count(names.ATTEMPTS)
        self._reattempts = Count(names.REATTEMPTS)
        self._broken_streams = Count(names.BROKEN_STREAMS)
        self._ejections = Count(names.EJECTIONS)
        self._queue_wait = Distribution(names.QUEUE_WAIT)
        self._time_to_first_byte = Distribution(names.TIME_TO_FIRST_BYTE)
        self._request_seconds = Distribution(names.REQUEST_SECONDS)
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._registry.register(self)
        fleet.subscribe(self)

    def observe_spans(self, counts: SpanCounts) -> None:
        self._registry.register(SpanCollector(counts))

    def finished(self, model: str, policy: str, outcome: str, seconds: float) -> None:
        self._requests[model, policy, outcome] += 1
        self.outcomes[outcome] += 1
        if outcome == "ok":
            self._request_seconds.observe(model, seconds)

    def attempted(self, engine: Engine, policy: str, outcome: str) -> None:
        self._attempts[engine.info.model, engine.shown, policy, outcome] += 1

    def reattempted(self, model: str, reason: Reattempt) -> None:
        self._reattempts[model, reason] += 1

    def stream_broke(self, model: str, ending: Ending) -> None:
        self._broken_streams[model, ending] += 1

    def waited(self, model: str, seconds: float) -> None:
        self._queue_wait.observe(model, seconds)

    def first_byte_after(self, model: str, seconds: float) -> None:
        self._time_to_first_byte.observe(model, seconds)

    def ejected(self, engine: Engine, cause: Cause) -> None:
        self._ejections[engine.info.model, engine.shown, cause] += 1

    def gone(self, engine: Engine) -> None:
        self._attempts.forget(1, engine.shown)
        self._ejections.forget(1, engine.shown)

    def text(self) -> bytes:
        """Return all metrics in Prometheus's text format."""
        return generate_latest(self._registry)

    def value(self, name: str, **labels: str) -> float:
        """Return the value of a series as a scrape would show it, 0 if it does not exist yet."""
        return self._registry.get_sample_value(name, labels) or 0.0

    def collect(self) -> Iterator[Family]:
        self._start_at_zero()
        for count in (self._requests, self._attempts, self._reattempts, self._broken_streams, self._ejections):
            yield count.family()
        for distribution in (self._queue_wait, self._time_to_first_byte, self._request_seconds):
            yield distribution.family()
        yield _gauge(names.QUEUE_DEPTH, {(model,): waiting for model, waiting in self._depth().items()})
        engines = self._fleet.engines()
        for metric, value in ENGINE_VALUES:
            yield _gauge(metric, {(one.info.model, one.shown): float(value(one)) for one in engines})

    def _start_at_zero(self) -> None:
        """Export counters of rare events before the first one: a series that begins at 1 has no rate."""
        for model in self._fleet.models:
            self._reattempts.expect((model, reason) for reason in get_args(Reattempt))
            self._broken_streams.expect((model, ending) for ending in get_args(Ending))
        for engine in self._fleet.engines():
            self._ejections.expect((engine.info.model, engine.shown, cause) for cause in get_args(Cause))


ENGINE_VALUES: tuple[tuple[Metric, Callable[[Engine], float]], ...] = (
    (names.ENGINE_UP, lambda engine: engine.is_up),
    (names.IN_FLIGHT, lambda engine: engine.in_flight),
    (names.LOAD, lambda engine: engine.load),
    (names.KV_USAGE, lambda engine: engine.kv_usage),
)


def _gauge(metric: Metric, values: dict[Labels, float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(metric.name, metric.help, labels=metric.labels)
    for labels, value in values.items():
        family.add_metric(labels, value)
    return family
