"""The KV tokens that an engine's requests in flight may add up to.

    sum(prompt + predicted output) <= kappa * KV tokens

Purpose     long requests must not meet in one engine's cache, where they would be preempted and computed again.
Inputs      each request's cost when its slot is taken; it is given back unchanged, so that the sum stays exact.
Trade-off   a request holds its predicted end from its beginning on, and shared prefixes count more than once: the
            budget is on the safe side. kappa > 1 lends that slack out; kappa = 0 turns the budget off.
Exception   an engine without a request takes any one, or a request larger than the cache would wait for ever.
"""

from __future__ import annotations


class KvBudget:
    """Integer tokens throughout: whatever comes and goes, an engine without requests is at exactly 0."""

    __slots__ = ("_kappa", "capacity", "used")

    def __init__(self, kappa: float, kv_tokens: int) -> None:
        self._kappa = kappa
        self.used = 0
        """Prompt and predicted output tokens of the requests in flight; counted without a capacity, too."""
        self.set_kv_tokens(kv_tokens)

    def set_kv_tokens(self, kv_tokens: int) -> None:
        """0 for an engine of unknown size: it has no budget."""
        self.capacity = int(self._kappa * kv_tokens)

    def fits(self, cost: int) -> bool:
        return not self.capacity or not self.used or self.used + cost <= self.capacity
