"""Metrics with vLLM's names, on a registry of our own, in Prometheus's plain text format."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from llm_contract import metrics as names
from llm_contract.metrics import ENGINE_LABELS, Metric, token_count_buckets
from llm_engine.kv_cache.manager import PrefixCacheStats
from llm_engine.observers.observer import ObservedEngine
from llm_engine.sampling.sampler import Sampled
from llm_engine.scheduler.scheduler import Step
from llm_engine.scheduler.sequence import FinishReason, Sequence
from llm_engine.settings import EngineConfig
from llm_engine.speculation.speculation import SpeculationStats

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
ENGINE_INDEX = "0"
"""Label of the engine. vLLM numbers the engines behind one server; here there is one."""

disable_created_metrics()  # type: ignore[no-untyped-call]


class EngineMetrics:
    """An observer that counts. The engine's thread calls it; any thread can render."""

    def __init__(self, model_name: str) -> None:
        self.registry = CollectorRegistry()
        self._model_name = model_name

    def watch(self, engine: ObservedEngine) -> None:
        scheduler, self._prefix = engine.scheduler, engine.kv_cache.stats
        self._gauge(names.REQUESTS_RUNNING).set_function(lambda: len(scheduler.running))
        self._gauge(names.REQUESTS_WAITING).set_function(lambda: len(scheduler.waiting))
        self._gauge(names.KV_CACHE_USAGE).set_function(lambda: scheduler.kv_cache.pool.usage)
        self._cache_config_info(engine.config, engine.num_blocks)
        self._prompt_tokens = self._counter(names.PROMPT_TOKENS)
        self._generation_tokens = self._counter(names.GENERATION_TOKENS)
        self._preemptions = self._counter(names.PREEMPTIONS)
        self._prefix_queries = self._counter(names.PREFIX_CACHE_QUERIES)
        self._prefix_hits = self._counter(names.PREFIX_CACHE_HITS)
        self._finished = self._finished_by_reason()
        self._ttft = self._histogram(names.TIME_TO_FIRST_TOKEN)
        self._inter_token = self._histogram(names.INTER_TOKEN_LATENCY)
        self._per_output_token = self._histogram(names.TIME_PER_OUTPUT_TOKEN)
        self._e2e = self._histogram(names.E2E_LATENCY)
        self._queue = self._histogram(names.QUEUE_TIME)
        self._prefill = self._histogram(names.PREFILL_TIME)
        self._decode = self._histogram(names.DECODE_TIME)
        self._inference = self._histogram(names.INFERENCE_TIME)
        buckets = token_count_buckets(engine.max_model_len)
        self._request_prompt_tokens = self._histogram(names.REQUEST_PROMPT_TOKENS, buckets)
        self._request_generation_tokens = self._histogram(names.REQUEST_GENERATION_TOKENS, buckets)
        self._iteration_tokens = self._histogram(names.ITERATION_TOKENS)
        self._prefix_seen = PrefixCacheStats()
        if engine.speculation is not None:  # as in vLLM, these counters exist only with speculation
            labels = (self._model_name, ENGINE_INDEX)
            self.registry.register(SpeculationCollector(engine.speculation.stats, labels))

    def queued(self, sequence: Sequence) -> None:
        return

    def launched(self, step: Step, now: float) -> None:
        return

    def computed(self, step: Step, sampled: list[Sampled], now: float) -> None:
        """Count a step. The sequences' times are not updated yet: `last_token_time` is that of the previous token."""
        prefix = self._prefix
        prompt_tokens = sum(
            item.sequence.num_prompt_tokens for item in sampled if item.sequence.last_token_time is None
        )
        new_tokens = sum(len(item.token_ids) for item in sampled)
        self._iteration_tokens.observe(prompt_tokens + new_tokens)  # as in vLLM, a prompt counts when it is complete
        self._preemptions.inc(len(step.preempted))
        self._generation_tokens.inc(new_tokens)
        self._prompt_tokens.inc(prompt_tokens)
        self._prefix_queries.inc(prefix.queries - self._prefix_seen.queries)
        self._prefix_hits.inc(prefix.hits - self._prefix_seen.hits)
        self._prefix_seen.queries, self._prefix_seen.hits = prefix.queries, prefix.hits
        for sequence in (item.sequence for item in sampled):
            if sequence.last_token_time is not None:
                self._inter_token.observe(now - sequence.last_token_time)
            else:
                self._ttft.observe(now - sequence.arrival_time)

    def finished(self, sequence: Sequence) -> None:
        assert sequence.finish_reason is not None
        self._finished[sequence.finish_reason].inc()
        if sequence.finish_reason in (FinishReason.ABORT, FinishReason.ERROR):
            return
        first, last, scheduled = sequence.first_token_time, sequence.last_token_time, sequence.first_scheduled_time
        assert first is not None
        assert last is not None
        assert scheduled is not None
        self._request_prompt_tokens.observe(sequence.num_prompt_tokens)
        self._request_generation_tokens.observe(sequence.num_output_tokens)
        self._e2e.observe(last - sequence.arrival_time)
        self._queue.observe(scheduled - sequence.arrival_time)
        self._prefill.observe(first - scheduled)
        self._decode.observe(last - first)
        self._inference.observe(last - scheduled)
        if sequence.num_output_tokens > 1:
            self._per_output_token.observe((last - first) / (sequence.num_output_tokens - 1))

    def render(self) -> bytes:
        return generate_latest(self.registry)

    def _gauge(self, metric: Metric) -> Gauge:
        return self._labelled(Gauge(metric.name, metric.help, metric.labels, registry=self.registry))

    def _counter(self, metric: Metric) -> Counter:
        return self._labelled(Counter(metric.name, metric.help, metric.labels, registry=self.registry))

    def _histogram(self, metric: Metric, buckets: tuple[float, ...] = ()) -> Histogram:
        return self._labelled(
            Histogram(
                metric.name, metric.help, metric.labels, buckets=buckets or metric.buckets, registry=self.registry
            )
        )

    def _labelled(self, metric: M) -> M:
        return metric.labels(self._model_name, ENGINE_INDEX)

    def _finished_by_reason(self) -> dict[FinishReason, Counter]:
        metric = names.REQUEST_SUCCESS
        counter = Counter(metric.name, metric.help, metric.labels, registry=self.registry)
        return {reason: counter.labels(self._model_name, ENGINE_INDEX, reason.value) for reason in FinishReason}

    def _cache_config_info(self, config: EngineConfig, num_blocks: int) -> None:
        metric = names.CACHE_CONFIG_INFO
        gauge = Gauge(metric.name, metric.help, metric.labels, registry=self.registry)
        gauge.labels(ENGINE_INDEX, config.block_size, num_blocks, config.prefix_cache_kind != "off").set(1)


class SpeculationCollector(Collector):
    """Counters of speculation, read when they are scraped, so that a step pays nothing for them."""

    def __init__(self, stats: SpeculationStats, labels: tuple[str, ...]) -> None:
        self._stats = stats
        self._labels = labels

    def collect(self) -> Iterator[CounterMetricFamily]:
        stats, prefix = self._stats, "vllm:spec_decode_num"
        yield self._counter(f"{prefix}_drafts", "Verifications of drafts.", stats.num_drafts)
        yield self._counter(f"{prefix}_draft_tokens", "Draft tokens verified.", stats.num_draft_tokens)
        accepted = sum(stats.accepted_by_position)
        yield self._counter(f"{prefix}_accepted_tokens", "Draft tokens accepted.", accepted)
        by_position = CounterMetricFamily(
            f"{prefix}_accepted_tokens_per_pos",
            "Draft tokens accepted, by position in the draft.",
            labels=(*ENGINE_LABELS, "position"),
        )
        for position, count in enumerate(stats.accepted_by_position):
            by_position.add_metric((*self._labels, str(position)), count)
        yield by_position

    def _counter(self, name: str, text: str, value: int) -> CounterMetricFamily:
        family = CounterMetricFamily(name, text, labels=ENGINE_LABELS)
        family.add_metric(self._labels, value)
        return family


M = TypeVar("M", Gauge, Counter, Histogram)
