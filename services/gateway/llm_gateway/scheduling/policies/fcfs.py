"""First come, first served: key = arrival time t.

Purpose     The baseline, and the right choice if all requests are worth the same.
Formula     Serve the smallest t.
Inputs      Arrival time.
Config      `fairness_window` S, seconds: how long a class at its share ceiling can be held back.
Trade-off   Head-of-line blocking: a burst of long batch requests delays every interactive request behind it.
Wait bound  D = t + S, where S counts only if a ceiling holds the class back. After D no later arrival is served first:
            wait <= S + N / service rate, with N <= max_queue requests ahead.
"""

from __future__ import annotations

from llm_gateway.scheduling.policies.ordering import KeyedPolicy
from llm_gateway.waiting import Waiting


class Fcfs(KeyedPolicy):
    """First come, first served. `fairness_window` is S in seconds."""

    def __init__(self, fairness_window: float) -> None:
        self._window = fairness_window

    def key(self, request: Waiting) -> float:
        return request.arrived

    def due(self, key: float) -> float:
        return key + self._window
