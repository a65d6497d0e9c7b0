"""Fails test_queue_time_is_measured_once: each admission counts, and a preempted sequence is admitted again.

Its second "queue time" contains its first run. Under memory pressure the queue seems to be the problem.
"""


class StepMetrics:
    def launched(self, step: Step, now: float) -> None:
        self._preemptions.inc(len(step.preempted))
        self._lost.inc(sum(item.num_lost_tokens for item in step.preempted))
        for sequence in step.admitted:
            self._queue.observe(now - sequence.arrival_time)
        if step.num_tokens:
            self._begun[step] = now
