"""Fails test_waiting_is_logged_once: each step logs each sequence that waits.

With 1,000 requests in the queue and 50 steps a second that is 50,000 lines a second, and all of them say what the ones
before said. The log becomes the bottleneck at the moment when it is needed.
"""


class DecisionLog:
    def launched(self, step: Step, now: float) -> None:
        for decision in decisions_of(self.num_steps, step, self.scheduler):
            self.emit(decision)
        self.num_steps += 1
