"""The interface of a policy: it ranks the head of each class's lane, and picks inside the lane.

    key    of a request, fixed when it is first queued: the order that the wait bound is about
    due    D(key), seconds on the clock: from then on nobody with a larger key goes first. It never decreases with the
           key, and whoever arrives after D(key) has a larger one; infinite for a policy without a wait bound
    lane   the waiting requests of one class, and which of them is next
    charge what a request cost, for policies that keep accounts

Five policies serve in the order of one key and are `KeyedPolicy`; only fairness between tenants needs lanes of its own.
"""

from __future__ import annotations

import math
from typing import Protocol

from llm_gateway.classes import PriorityClass
from llm_gateway.scheduling.policies.lazy_heap import LazyHeap
from llm_gateway.waiting import Waiting

Rank = tuple[float, int]
"""(what the policy compares, order of the first push); the smaller one goes first."""


class Lane(Protocol):
    """The waiting requests of one class. A request is unmarked (`queued`) first, and then `removed`."""

    def push(self, request: Waiting) -> None: ...

    def rank(self, now: float) -> Rank | None:
        """Return the rank of the request that it would serve next; None if the lane is empty."""

    def peek(self, now: float) -> Waiting | None: ...

    def oldest(self) -> Waiting | None:
        """The one with the smallest key, whether or not it is next."""

    def removed(self, request: Waiting) -> None: ...


class OrderingPolicy(Protocol):
    def make_lane(self, cls: PriorityClass) -> Lane: ...

    def key(self, request: Waiting) -> float: ...

    def due(self, key: float) -> float: ...

    def charge(self, request: Waiting, tokens: float) -> None:
        """Puts `tokens`, weighted by what they cost, on the account of the request's tenant."""


class KeyedPolicy:
    """Serves the smallest key, whatever its class; keeps no accounts and, unless it says otherwise, has no bound."""

    def make_lane(self, cls: PriorityClass) -> Lane:
        return KeyedLane()

    def due(self, key: float) -> float:
        return math.inf

    def charge(self, request: Waiting, tokens: float) -> None:
        """Nothing: the order depends on the key alone."""


class KeyedLane:
    __slots__ = ("_heap",)

    def __init__(self) -> None:
        self._heap = LazyHeap()

    def push(self, request: Waiting) -> None:
        self._heap.push(request.key, request)

    def rank(self, now: float) -> Rank | None:
        head = self._heap.peek()
        return None if head is None else (head.key, head.order)

    def peek(self, now: float) -> Waiting | None:
        return self._heap.peek()

    def oldest(self) -> Waiting | None:
        return self._heap.peek()

    def removed(self, request: Waiting) -> None:
        self._heap.removed()
