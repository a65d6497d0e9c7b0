"""First come, first served: key = arrival time t.

Purpose     the baseline, and the right choice when all requests are worth the same.
Formula     serve the smallest t.
Inputs      arrival time.
Config      `fairness_window` S, seconds: how long a class at its share ceiling may be held back.
Trade-off   a burst of long batch requests delays every interactive one behind it.
Wait bound  D = t + S, and S counts only where a ceiling holds the class back. Nobody who comes later is served before
            it after D: wait <= S + N / service rate, with N <= max_queue requests ahead of it.
"""

from __future__ import annotations

from llm_gateway.scheduling.policies.ordering import KeyedPolicy
from llm_gateway.waiting import Waiting


class Fcfs(KeyedPolicy):
    def __init__(self, fairness_window: float) -> None:
        self._window = fairness_window

    def key(self, request: Waiting) -> float:
        return request.arrived

    def due(self, key: float) -> float:
        return key + self._window
