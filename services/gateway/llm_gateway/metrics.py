"""The gateway's metrics. Their names are in `llm_contract.gateway_metrics`."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Literal, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from llm_contract import gateway_metrics as names
from llm_contract.metrics import Metric
from llm_gateway.engines import EnginePool
from llm_gateway.engines.metrics import EngineCollector
from llm_gateway.scheduling.queue import RequestQueue
from llm_gateway.scheduling.wait_bound import WaitBound
from llm_gateway.tenancy.usage import UsageBook, UsageCollector
from llm_proxy.telemetry.metrics import SpanCollector
from llm_proxy.telemetry.tracing import SpanCounts

if TYPE_CHECKING:
    from llm_gateway.fleet.client import FleetClient

Reattempt = Literal["preempted", "retry", "hedge", "resume"]
"""Why a request is sent to an engine again."""

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Series(dict[str, Histogram]):
    """A histogram's series by their one label. Each is looked up once, as `labels` takes a lock and builds a key."""

    def __init__(self, family: Histogram) -> None:
        super().__init__()
        self._family = family

    def __missing__(self, label: str) -> Histogram:
        found = self[label] = self._family.labels(label)
        return found


RELOAD_RESULTS = ("applied", "unchanged", "refused")
"""They start at 0: `increase` does not see a series' first sample."""


class GatewayMetrics:
    """All metrics. Requests increment the counters; a scrape reads the gauges from the queue and the pool."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._requests: dict[tuple[str, str], Counter] = {}
        self._requests_family = self._counter(names.REQUESTS)
        self._engine_failures = self._counter(names.ENGINE_FAILURES)
        self._reattempts = self._counter(names.REATTEMPTS)
        self._reloads = self._counter(names.CONFIG_RELOADS)
        for result in RELOAD_RESULTS:
            self._reloads.labels(result)
        self._shed = self._counter(names.SHED)
        self._wait_bound_violations = self._counter(names.WAIT_BOUND_VIOLATIONS)
        self._queue_wait = Series(self._histogram(names.QUEUE_WAIT))
        self._time_to_first_byte = Series(self._histogram(names.TIME_TO_FIRST_BYTE))
        self._request_seconds = Series(self._histogram(names.REQUEST_SECONDS))
        self.sla_requests = self._counter(names.SLA_REQUESTS)
        self.sla_violations = self._counter(names.SLA_VIOLATIONS)
        self.sla_dropped = self._counter(names.SLA_DROPPED)

    def observe_scheduler(self, queue: RequestQueue, pool: EnginePool, class_names: Iterable[str]) -> None:
        """Export the state of the queue by class and of the pool by engine. Counters by class start at 0."""
        depth = self._gauge(names.QUEUE_DEPTH)
        for name in class_names:
            depth.labels(name).set_function(partial(queue.depth, name))
            self._shed.labels(name)
            for reason in get_args(Reattempt):
                self._reattempts.labels(name, reason)
        self._registry.register(EngineCollector(pool))

    def observe_wait_bound(self, bound: WaitBound, class_names: Iterable[str]) -> None:
        seconds = self._gauge(names.WAIT_BOUND)
        for name in class_names:
            seconds.labels(name).set_function(partial(bound.seconds, name))
            self._wait_bound_violations.labels(name)  # exported as 0 from the start: an alert needs the series

    def observe_tenants(self, usage: UsageBook) -> None:
        self._registry.register(UsageCollector(usage))

    def observe_fleet(self, client: FleetClient) -> None:
        self._gauge(names.FLEET_DEGRADED).set_function(lambda: not client.online)
        self._gauge(names.FLEET_REPLICAS).set_function(lambda: client.replicas)

    def observe_spans(self, counts: SpanCounts) -> None:
        self._registry.register(SpanCollector(counts))

    def reloaded(self, result: str) -> None:
        self._reloads.labels(result).inc()

    def finished(self, class_name: str, outcome: str) -> None:
        series = self._requests.get((class_name, outcome))
        if series is None:
            series = self._requests[class_name, outcome] = self._requests_family.labels(class_name, outcome)
        series.inc()

    def waited(self, class_name: str, seconds: float) -> None:
        self._queue_wait[class_name].observe(seconds)

    def first_byte_after(self, class_name: str, seconds: float) -> None:
        self._time_to_first_byte[class_name].observe(seconds)

    def request_took(self, class_name: str, seconds: float) -> None:
        self._request_seconds[class_name].observe(seconds)

    def reattempted(self, class_name: str, reason: Reattempt) -> None:
        self._reattempts.labels(class_name, reason).inc()

    def wait_bound_violated(self, class_name: str) -> None:
        self._wait_bound_violations.labels(class_name).inc()

    def shed(self, class_name: str) -> None:
        self._shed.labels(class_name).inc()

    def engine_failed(self, engine_name: str, phase: str) -> None:
        self._engine_failures.labels(engine_name, phase).inc()

    def expect_engine(self, engine_name: str) -> None:
        """Export the counters of a new engine as 0."""
        for phase in names.ENGINE_FAILURE_PHASES:
            self._engine_failures.labels(engine_name, phase)

    def forget_engine(self, engine_name: str) -> None:
        """Delete the series of an engine that was removed for good."""
        for phase in names.ENGINE_FAILURE_PHASES:
            self._engine_failures.remove(engine_name, phase)

    def text(self) -> bytes:
        """Return all metrics in Prometheus's text format."""
        return generate_latest(self._registry)

    def value(self, name: str, labels: dict[str, str]) -> float:
        """Return the value of a series as a scrape would show it, 0 if it does not exist yet."""
        return self._registry.get_sample_value(name, labels) or 0.0

    def _counter(self, metric: Metric) -> Counter:
        return Counter(metric.name.removesuffix("_total"), metric.help, metric.labels, registry=self._registry)

    def _gauge(self, metric: Metric) -> Gauge:
        return Gauge(metric.name, metric.help, metric.labels, registry=self._registry)

    def _histogram(self, metric: Metric) -> Histogram:
        return Histogram(metric.name, metric.help, metric.labels, buckets=metric.buckets, registry=self._registry)
