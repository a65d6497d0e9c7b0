"""Virtual Token Counter: the tenant that was served least is next, whatever its class.

Purpose     tenants share the engines by weight, in tokens rather than in requests.
Formula     c = (1 * prompt tokens + 2 * output tokens) / weight, summed per tenant: the prompt at admission, output as
            it is produced. Serve the waiting tenant with the smallest c; inside it, first come, first served. See
            llm_gateway.scheduling.policies.fair_queue for the lift on return.
Inputs      tenant, weight, prompt tokens, output tokens as they are charged.
Config      the tenants' weights.
Trade-off   no tenant can crowd out another one, and none loses what it does not use to a reserve; a tenant that floods
            the queue waits behind its own requests. Classes and deadlines play no part.
Wait bound  none that is worth stating: it grows with the number of tenants and with the sizes of their requests.
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
"""The paper's w_p and w_q."""


class Vtc:
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
