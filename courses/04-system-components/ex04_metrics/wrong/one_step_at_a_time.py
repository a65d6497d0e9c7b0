"""Fails test_steps_that_overlap: the observer remembers when the last step was launched.

Without overlap this is right, so it passes on a laptop. On a GPU the next step is launched before this one is read, and
each step seems to take only the time since then.
"""


class StepMetrics:
    def launched(self, step: Step, now: float) -> None:
        self._preemptions.inc(len(step.preempted))
        self._lost.inc(sum(item.num_lost_tokens for item in step.preempted))
        for sequence in step.admitted:
            if sequence.num_preemptions == 0:
                self._queue.observe(now - sequence.arrival_time)
        self._launch = now

    def computed(self, step: Step, sampled: list[Sampled], now: float) -> None:
        if step.num_tokens:
            self._step.labels(kind_of(step)).observe(now - self._launch)
            self._sequences.observe(len(step.num_tokens))
