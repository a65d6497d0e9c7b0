"""Metrics of the engine's steps for Prometheus, and histogram buckets that can answer the questions asked of them.

    metrics = StepMetrics(buckets([0.2, 1.0], low=0.001, high=60, error=0.25))
    engine = Engine(config, observers=[metrics])
    print(metrics.render().decode())

course_step_seconds{kind}        histogram   launch of a step until its tokens are known; kind: prefill, decode, mixed
course_step_sequences            histogram   sequences of a step
course_queue_seconds             histogram   arrival until first scheduled, once for each sequence
course_preemptions_total         counter
course_lost_tokens_total         counter     computed tokens that preemptions threw away
course_requests_total{reason}    counter     sequences that ended, by finish reason
course_waiting                   gauge       sequences in the queue, at the moment of the scrape
course_kv_usage                  gauge       owned blocks over all blocks, 0 to 1, at the moment of the scrape
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from collections.abc import Sequence as Ordered
from itertools import pairwise
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from llm_engine.sampling.sampler import Sampled
from llm_engine.scheduler.scheduler import Step
from llm_engine.scheduler.sequence import Sequence

if TYPE_CHECKING:
    from llm_engine.observers.observer import ObservedEngine

SEQUENCE_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


def quantile(bounds: Ordered[float], counts: Ordered[int], q: float) -> float:
    """Return what PromQL's `histogram_quantile(q, …)` returns. NaN without observations.

    `bounds` are the finite upper bounds, increasing and above 0. `counts` has one more entry: how many observations are
    at most each bound, and then how many there are.
    """
    # region exercise: find the bucket; inside it observations count as spread evenly; the last one has no upper end
    rank, total = q * counts[-1], counts[-1]
    if total == 0:
        return math.nan
    low, below = 0.0, 0
    for bound, count in zip(bounds, counts, strict=False):
        if count >= rank and count > below:
            return low + (bound - low) * (rank - below) / (count - below)
        low, below = bound, count
    return bounds[-1]
    # endregion


def buckets(targets: Iterable[float], low: float, high: float, error: float) -> tuple[float, ...]:
    """Return upper bounds from `low` to `high`, increasing, each target among them.

    No bound is more than `1 + error` times the one before, so a quantile between them is wrong by at most that factor.
    There are no more bounds than that takes. Targets lie between `low` and `high`.
    """
    # region exercise: from one point that must be a bound to the next, in equal factors
    points = sorted({low, high, *targets})
    bounds = [low]
    for begin, end in pairwise(points):
        steps = math.ceil(math.log(end / begin) / math.log(1 + error) - 1e-9)
        bounds += [begin * (end / begin) ** (step / steps) for step in range(1, steps)]
        bounds.append(end)
    return tuple(bounds)
    # endregion


class StepMetrics:
    """An observer of one engine, with a registry of its own."""

    def __init__(self, seconds: tuple[float, ...]) -> None:
        """`seconds` are the upper bounds of the histograms of times."""
        self.registry = CollectorRegistry()
        self.seconds = seconds

    def watch(self, engine: ObservedEngine) -> None:
        # region exercise: make the eight metrics, as the table above has them
        registry, seconds, scheduler = self.registry, self.seconds, engine.scheduler
        self._step = Histogram("course_step_seconds", "Step.", ["kind"], buckets=seconds, registry=registry)
        self._sequences = Histogram("course_step_sequences", "Batch.", buckets=SEQUENCE_BUCKETS, registry=registry)
        self._queue = Histogram("course_queue_seconds", "Queue.", buckets=seconds, registry=registry)
        self._preemptions = Counter("course_preemptions_total", "Preemptions.", registry=registry)
        self._lost = Counter("course_lost_tokens_total", "Tokens to be computed again.", registry=registry)
        self._requests = Counter("course_requests_total", "Ended.", ["reason"], registry=registry)
        waiting = Gauge("course_waiting", "In the queue.", registry=registry)
        usage = Gauge("course_kv_usage", "Owned blocks over all.", registry=registry)
        waiting.set_function(lambda: len(scheduler.waiting))
        usage.set_function(lambda: engine.kv_cache.pool.usage)
        self._begun: dict[Step, float] = {}
        # endregion

    def launched(self, step: Step, now: float) -> None:
        # region exercise: preemptions, queue times, and the beginning of the step
        self._preemptions.inc(len(step.preempted))
        self._lost.inc(sum(item.num_lost_tokens for item in step.preempted))
        for sequence in step.admitted:
            if sequence.num_preemptions == 0:
                self._queue.observe(now - sequence.arrival_time)
        if step.num_tokens:
            self._begun[step] = now
        # endregion

    def computed(self, step: Step, sampled: list[Sampled], now: float) -> None:
        # region exercise: the step's time by kind, and its size; with overlap another step has been launched since
        begun = self._begun.pop(step, None)
        if begun is None:
            return
        self._step.labels(kind_of(step)).observe(now - begun)
        self._sequences.observe(len(step.num_tokens))
        # endregion

    def finished(self, sequence: Sequence) -> None:
        # region exercise: count it; an aborted one may never have been scheduled
        assert sequence.finish_reason is not None
        self._requests.labels(sequence.finish_reason.value).inc()
        # endregion

    def queued(self, sequence: Sequence) -> None:
        pass

    def render(self) -> bytes:
        """Return the page that Prometheus scrapes."""
        return generate_latest(self.registry)


def kind_of(step: Step) -> str:
    """Return `prefill` if all of the step's tokens belong to prompts, `decode` if none does, else `mixed`."""
    # region exercise: a sequence whose first token of the step is one of its prompt is in prefill
    prefills = {
        start < sequence.num_prompt_tokens for sequence, start in step.starts.items() if sequence in step.num_tokens
    }
    return "mixed" if len(prefills) == 2 else "prefill" if True in prefills else "decode"
    # endregion
