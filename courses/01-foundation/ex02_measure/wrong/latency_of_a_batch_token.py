"""Fails test_the_two_views_of_one_run: the time between two tokens is the run's time over all tokens.

That is the inverse of the throughput, not a latency: at batch 16 it promises each user tokens sixteen times as often as
they come.
"""


class Measurement:
    @property
    def milliseconds_per_token(self) -> float:
        return self.seconds / self.output_tokens * 1e3
