"""Priority with linear aging: key = p + a * t, for class priority p, arrival time t, aging rate a.

Purpose     urgent classes first, and nobody starves.
Formula     the effective priority of a request that waited w seconds is p - a * w. With one rate a for all, comparing
            p - a * (now - t) between two requests does not depend on now, so p + a * t is an exact, constant key.
Inputs      class priority, arrival time.
Config      `aging_rate` a, priority levels per second; `fairness_window` S, seconds: how long a class at its share
            ceiling may be held back.
Trade-off   a large a bounds the wait tightly and approaches first come, first served; a = 0 is strict priority. At the
            default a = 0.01 a standard request (p = 1) can be passed for 100 s and a batch request (p = 2) for 200 s.
            Overload that lasts longer than that leaves an urgent class only its head start: requests that have aged
            past it are ahead of it, as the bound promises them.
Wait bound  D = t + (p - p0) / a + S = (key - p0) / a + S, for p0 of the most urgent class. Whoever arrives after
            D - S has a larger key, and after D not even a ceiling lets a larger key go first, so what is ahead is what
            is queued already: wait <= (p - p0) / a + S + N / service rate, N <= max_queue. None if a = 0.
"""

from __future__ import annotations

import math

from llm_gateway.scheduling.policies.ordering import KeyedPolicy
from llm_gateway.waiting import Waiting


class Aging(KeyedPolicy):
    def __init__(self, aging_rate: float, most_urgent: int, fairness_window: float) -> None:
        self._rate = aging_rate
        self._most_urgent = most_urgent
        self._window = fairness_window

    def key(self, request: Waiting) -> float:
        return request.cls.priority + self._rate * request.arrived

    def due(self, key: float) -> float:
        return (key - self._most_urgent) / self._rate + self._window if self._rate else math.inf
