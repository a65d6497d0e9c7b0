"""The rate at which requests are served while all slots are busy. Retry-After and the wait bound use it.

    rate = slots / seconds that a request holds a slot        Little's law

Counting completions would measure arrivals while the service is not full, and nothing after a start. The time that
slots are held predicts at any load what a full service can serve. A prior stands in before the first observation; it
counts as PRIOR_STRENGTH observations.
"""

from __future__ import annotations

from collections.abc import Callable

HORIZON = 100
"""Number of observations after which an observation's weight has fallen to 1/e."""
PRIOR_STRENGTH = 1.0
PRIOR_TTFT = 0.1
PRIOR_TPOT = 0.02
"""Assumed for an unknown engine, in seconds."""
PRIOR_OUTPUT_TOKENS = 128


class ServiceRate:
    """The service rate of the engines. `slots` returns the slots of the route that has the fewest."""

    def __init__(self, slots: Callable[[], float]) -> None:
        self._slots = slots
        self._seen = 0
        self._mean = 0.0
        self.replicas: Callable[[], int] = lambda: 1
        """Returns the number of proxies that share the slots."""

    def held(self, seconds: float) -> None:
        """Learn from a request that held a slot for `seconds`."""
        self._seen += 1
        self._mean += (seconds - self._mean) / min(self._seen, HORIZON)

    def seconds_per_request(self, output_tokens: int = PRIOR_OUTPUT_TOKENS) -> float:
        """Return how long a request with that many predicted output tokens holds a slot."""
        prior = PRIOR_TTFT + PRIOR_TPOT * output_tokens
        seen = min(self._seen, HORIZON)
        return (PRIOR_STRENGTH * prior + seen * self._mean) / (PRIOR_STRENGTH + seen)

    def per_second(self, output_tokens: int = PRIOR_OUTPUT_TOKENS, slots: float | None = None) -> float:
        """Return the requests per second that `slots` serve, 0 while no engine takes requests."""
        slots = self._slots() if slots is None else slots
        return slots / max(1, self.replicas()) / self.seconds_per_request(output_tokens)
