"""A budget for the KV tokens of an engine's requests in flight.

    sum(prompt + predicted output) <= kappa * KV tokens

Purpose     Keep long requests from meeting in one engine's cache, where the engine would preempt and recompute them.
Inputs      The cost of each request when it takes its slot. The same cost is given back, so the sum stays exact.
Trade-off   A request reserves its predicted output from the start, and shared prefixes count more than once, so the
            budget is conservative. kappa > 1 uses that slack; kappa = 0 turns the budget off.
Exception   An idle engine takes any request. Otherwise a request larger than the cache would wait forever.
"""

from __future__ import annotations


class KvBudget:
    """The KV budget of one engine. It counts integer tokens, so an idle engine is at exactly 0."""

    __slots__ = ("_kappa", "capacity", "used")

    def __init__(self, kappa: float, kv_tokens: int) -> None:
        self._kappa = kappa
        self.used = 0
        """Prompt and predicted output tokens of the requests in flight, counted even if the capacity is unknown."""
        self.set_kv_tokens(kv_tokens)

    def set_kv_tokens(self, kv_tokens: int) -> None:
        """Set the capacity of the engine's cache. 0 means unknown: then there is no budget."""
        self.capacity = int(self._kappa * kv_tokens)

    def fits(self, cost: int) -> bool:
        """Return whether a request of `cost` tokens can be added."""
        return not self.capacity or not self.used or self.used + cost <= self.capacity
