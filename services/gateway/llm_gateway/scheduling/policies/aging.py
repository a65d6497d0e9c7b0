"""Priority with linear aging: key = p + a * t, for class priority p, arrival time t, aging rate a.

Purpose     Serve urgent classes first without starving any class.
Formula     A request that has waited w seconds has the effective priority p - a * w. With one rate a for all requests,
            comparing p - a * (now - t) of two requests does not depend on now. So p + a * t is an exact, constant key.
Inputs      Class priority, arrival time.
Config      `aging_rate` a, priority levels per second; `fairness_window` S, seconds: how long a class at its share
            ceiling can be held back.
Trade-off   A large a bounds the wait tightly and approaches first come, first served; a = 0 is strict priority. At the
            default a = 0.01, newcomers can pass a standard request (p = 1) for 100 s and a batch request (p = 2) for
            200 s. In longer overload an urgent class keeps only this head start: requests that have aged past it go
            first, as their bound promises.
Wait bound  D = t + (p - p0) / a + S = (key - p0) / a + S, for p0 of the most urgent class. A request that arrives after
            D - S has a larger key, and after D not even a ceiling lets a larger key go first. So only requests that are
            queued already are ahead: wait <= (p - p0) / a + S + N / service rate, N <= max_queue. None if a = 0.
"""

from __future__ import annotations

import math

from llm_gateway.scheduling.policies.ordering import KeyedPolicy
from llm_gateway.waiting import Waiting


class Aging(KeyedPolicy):
    """Linear aging. `aging_rate` is in levels per second, `most_urgent` is p0, `fairness_window` is S in seconds."""

    def __init__(self, aging_rate: float, most_urgent: int, fairness_window: float) -> None:
        self._rate = aging_rate
        self._most_urgent = most_urgent
        self._window = fairness_window

    def key(self, request: Waiting) -> float:
        return request.cls.priority + self._rate * request.arrived

    def due(self, key: float) -> float:
        return (key - self._most_urgent) / self._rate + self._window if self._rate else math.inf
