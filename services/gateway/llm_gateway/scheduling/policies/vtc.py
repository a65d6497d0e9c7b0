"""Virtual Token Counter: the least served tenant is next, whatever its class.

Purpose     Share the engines between tenants by weight, in tokens rather than in requests.
Formula     c = (1 * prompt tokens + 2 * output tokens) / weight, summed per tenant: the prompt is charged at admission,
            the output when the request ends. Serve the waiting tenant with the smallest c, its requests first come,
            first served. llm_gateway.scheduling.policies.fair_queue describes the lift of a tenant that returns.
Inputs      Tenant, weight, prompt tokens, charged output tokens.
Config      The tenants' weights.
Trade-off   No tenant can crowd out another, and no capacity is reserved: a tenant's unused share goes to the others. A
            tenant that floods the queue waits behind its own requests. Classes and deadlines have no influence.
Wait bound  None that is useful: it grows with the number of tenants and the sizes of their requests.
"""

from __future__ import annotations

import math

from llm_gateway.classes import PriorityClass
from llm_gateway.scheduling.policies.fair_queue import FairQueue, TokenCounters
from llm_gateway.scheduling.policies.lazy_heap import LazyHeap
from llm_gateway.scheduling.policies.ordering import Lane, Rank
from llm_gateway.waiting import Waiting

PROMPT_TOKEN_COST = 1.0
OUTPUT_TOKEN_COST = 2.0
"""w_p and w_q in the paper."""


class Vtc:
    """Virtual token counters over all classes."""

    def __init__(self) -> None:
        self._counters = TokenCounters()

    def make_lane(self, cls: PriorityClass) -> Lane:
        return VtcLane(self._counters)

    def key(self, request: Waiting) -> float:
        return request.arrived

    def due(self, key: float) -> float:
        return math.inf

    def charge(self, request: Waiting, tokens: float) -> None:
        self._counters.charge(request.tenant, tokens, request.weight)


class VtcLane:
    """A lane in the order of the tenants' counters."""

    __slots__ = ("_by_age", "_fair")

    def __init__(self, counters: TokenCounters) -> None:
        self._fair = FairQueue(counters)
        self._by_age = LazyHeap()

    def push(self, request: Waiting) -> None:
        self._fair.push(request.order, request)
        self._by_age.push(request.key, request)

    def rank(self, now: float) -> Rank | None:
        turn = self._fair.turn()
        return None if turn is None else (turn[0], turn[1].order)

    def peek(self, now: float) -> Waiting | None:
        turn = self._fair.turn()
        return None if turn is None else turn[1]

    def oldest(self) -> Waiting | None:
        return self._by_age.peek()

    def removed(self, request: Waiting) -> None:
        self._fair.removed(request)
        self._by_age.removed()
