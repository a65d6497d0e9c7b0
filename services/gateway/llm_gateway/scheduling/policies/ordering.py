"""The interface of a policy: it ranks the head of each class's lane and chooses within the lane.

    key     the order that the wait bound refers to, fixed when a request is first queued
    due     D(key), seconds on the clock: from then on no request with a larger key goes first. D never decreases with
            the key, and a request that arrives after D(key) has a larger key. Infinite for a policy without a bound
    lane    the waiting requests of one class, and the next one among them
    charge  add the cost of a request, for policies that keep accounts

Five policies serve in the order of one key: they are `KeyedPolicy`. Only fairness between tenants needs other lanes.
"""

from __future__ import annotations

import math
from typing import Protocol

from llm_gateway.classes import PriorityClass
from llm_gateway.scheduling.policies.lazy_heap import LazyHeap
from llm_gateway.waiting import Waiting

Rank = tuple[float, int]
"""(the policy's own measure, order of the first push). The smallest rank goes first."""


class Lane(Protocol):
    """The waiting requests of one class. A request is first unmarked (`queued`), then `removed`."""

    def push(self, request: Waiting) -> None: ...

    def rank(self, now: float) -> Rank | None:
        """Return the rank of the next request, None if the lane is empty."""

    def peek(self, now: float) -> Waiting | None: ...

    def oldest(self) -> Waiting | None:
        """Return the request with the smallest key, whether or not it is next."""

    def removed(self, request: Waiting) -> None: ...


class OrderingPolicy(Protocol):
    """An order of waiting requests."""

    def make_lane(self, cls: PriorityClass) -> Lane: ...

    def key(self, request: Waiting) -> float: ...

    def due(self, key: float) -> float: ...

    def charge(self, request: Waiting, tokens: float) -> None:
        """Charge `tokens`, weighted by their cost, to the request's tenant."""


class KeyedPolicy:
    """A policy that serves the smallest key. It keeps no accounts and has no bound, unless a subclass defines `due`."""

    def make_lane(self, cls: PriorityClass) -> Lane:
        return KeyedLane()

    def due(self, key: float) -> float:
        return math.inf

    def charge(self, request: Waiting, tokens: float) -> None:
        """Do nothing: the order depends on the key alone."""


class KeyedLane:
    """A lane in the order of the requests' keys."""

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
