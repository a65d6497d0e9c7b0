"""Fails test_gauges_show_the_moment_of_the_scrape: usage is set when a step is launched.

When the last request ends there is no next step, and the dashboard shows a full cache all night.
"""


class StepMetrics:
    def watch(self, engine: ObservedEngine) -> None:
        registry, seconds, scheduler = self.registry, self.seconds, engine.scheduler
        self._step = Histogram("course_step_seconds", "Step.", ["kind"], buckets=seconds, registry=registry)
        self._sequences = Histogram("course_step_sequences", "Batch.", buckets=SEQUENCE_BUCKETS, registry=registry)
        self._queue = Histogram("course_queue_seconds", "Queue.", buckets=seconds, registry=registry)
        self._preemptions = Counter("course_preemptions_total", "Preemptions.", registry=registry)
        self._lost = Counter("course_lost_tokens_total", "Tokens to be computed again.", registry=registry)
        self._requests = Counter("course_requests_total", "Ended.", ["reason"], registry=registry)
        self._usage = Gauge("course_kv_usage", "Owned blocks over all.", registry=registry)
        self._pool = engine.kv_cache.pool
        Gauge("course_waiting", "In the queue.", registry=registry).set_function(lambda: len(scheduler.waiting))
        self._begun: dict[Step, float] = {}

    def computed(self, step: Step, sampled: list[Sampled], now: float) -> None:
        self._usage.set(self._pool.usage)
        begun = self._begun.pop(step, None)
        if begun is None:
            return
        self._step.labels(kind_of(step)).observe(now - begun)
        self._sequences.observe(len(step.num_tokens))
