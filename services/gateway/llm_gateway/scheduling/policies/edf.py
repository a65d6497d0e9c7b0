"""Earliest deadline first: key = the time by which the first token is needed.

Purpose     Keep as many promises as possible when each request states its needs.
Formula     Serve the smallest deadline. With arrival + TTFT target as the deadline, this is linear aging with a = 1 and
            the target as the priority.
Inputs      The request's deadline. A request without one goes after all that have one.
Config      The classes' `ttft_target`; `fairness_window` S, seconds: how long a class at its share ceiling can be held
            back.
Trade-off   It is optimal for one server while all deadlines can be met. In overload it serves requests that are late
            already, and misses nearly every deadline.
Wait bound  A deadline is never before the arrival, so no newcomer passes a request after its deadline d: D = d + S and
            wait <= (d - t) + S + N / service rate, N <= max_queue. None without a deadline.
"""

from __future__ import annotations

from llm_gateway.scheduling.policies.ordering import KeyedPolicy
from llm_gateway.waiting import Waiting


class Edf(KeyedPolicy):
    """Earliest deadline first. `fairness_window` is S in seconds."""

    def __init__(self, fairness_window: float) -> None:
        self._window = fairness_window

    def key(self, request: Waiting) -> float:
        return request.deadline

    def due(self, key: float) -> float:
        return key + self._window
