"""How fast requests are served while all slots are busy, for Retry-After and for the wait bound.

    rate = slots / seconds that a request holds a slot        Little's law

Counting completions would measure the arrivals of a gateway that is not full, and nothing in one that has just started;
the time that slots are held says at any load what a full gateway can do. Until it was observed there is a prior, which
counts as PRIOR_STRENGTH observations.
"""

from __future__ import annotations

from collections.abc import Callable

HORIZON = 100
"""Observations after which one counts 1/e."""
PRIOR_STRENGTH = 1.0
PRIOR_TTFT = 0.1
PRIOR_TPOT = 0.02
"""Seconds, of an engine that nothing is known about."""
PRIOR_OUTPUT_TOKENS = 128


class ServiceRate:
    """`slots` counts those that a request can have where the engines differ in their models: the fewest there are."""

    def __init__(self, slots: Callable[[], float]) -> None:
        self._slots = slots
        self._seen = 0
        self._mean = 0.0
        self.replicas: Callable[[], int] = lambda: 1
        """Gateways that share the slots."""

    def held(self, seconds: float) -> None:
        """Learn from a request that held a slot for that long."""
        self._seen += 1
        self._mean += (seconds - self._mean) / min(self._seen, HORIZON)

    def seconds_per_request(self, output_tokens: int = PRIOR_OUTPUT_TOKENS) -> float:
        """Return how long a request holds a slot; `output_tokens` is what one is predicted to have."""
        prior = PRIOR_TTFT + PRIOR_TPOT * output_tokens
        seen = min(self._seen, HORIZON)
        return (PRIOR_STRENGTH * prior + seen * self._mean) / (PRIOR_STRENGTH + seen)

    def per_second(self, output_tokens: int = PRIOR_OUTPUT_TOKENS, slots: float | None = None) -> float:
        """Return requests per second with that many slots, 0 while no engine takes requests."""
        slots = self._slots() if slots is None else slots
        return slots / max(1, self.replicas()) / self.seconds_per_request(output_tokens)
