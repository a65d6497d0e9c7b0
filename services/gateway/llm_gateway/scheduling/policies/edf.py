"""Earliest deadline first: key = the moment at which the first token is wanted.

Purpose     as many promises kept as possible, when each request says what it needs.
Formula     serve the smallest deadline. With arrival + TTFT target as the deadline it is linear aging with a = 1 and
            the target as the priority.
Inputs      the request's deadline; without one it goes after all that have one.
Config      the classes' `ttft_target`; `fairness_window` S, seconds: how long a class at its share ceiling may be held
            back.
Trade-off   optimal for one server as long as all deadlines can be met; in overload it serves those that are late
            already, and nearly every deadline is missed.
Wait bound  a deadline is never before the arrival, so after its deadline d a request is passed by nobody new:
            D = d + S and wait <= (d - t) + S + N / service rate, N <= max_queue. None without a deadline.
"""

from __future__ import annotations

from llm_gateway.scheduling.policies.ordering import KeyedPolicy
from llm_gateway.waiting import Waiting


class Edf(KeyedPolicy):
    def __init__(self, fairness_window: float) -> None:
        self._window = fairness_window

    def key(self, request: Waiting) -> float:
        return request.deadline

    def due(self, key: float) -> float:
        return key + self._window
