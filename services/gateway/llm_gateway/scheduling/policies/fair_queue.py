"""Fair shares between tenants: Virtual Token Counters (Sheng et al., "Fairness in Serving Large Language Models",
OSDI '24, algorithm 2), weighted.

A tenant's counter is the service it has received, in weighted tokens over its weight. The waiting tenant with the
smallest counter is next. When a tenant starts to wait, its counter is lifted to the smallest counter of the waiting
tenants, or, if none waits, to that of the last tenant that left: absence saves up no credit. The counters of two
tenants that wait all the time differ by at most about one request's cost over the weight.

Counters only grow, so a tenant's entry in the heap of turns is a lower bound. It is refreshed when it reaches the top.
"""

from __future__ import annotations

import heapq
from itertools import count
from weakref import WeakSet

from llm_gateway.scheduling.policies.lazy_heap import LazyHeap
from llm_gateway.waiting import Waiting

MAX_TENANTS = 10_000
"""Most accounts of tenants that do not wait. Clients choose the names, and memory must stay bounded."""


class TokenCounters:
    """The counters of all tenants, and how many requests of each wait in the queues that share these counters."""

    def __init__(self) -> None:
        self._counters: dict[str, float] = {}
        self._waiting: dict[str, int] = {}
        self._queues: WeakSet[FairQueue] = WeakSet()
        self._last_left = ""
        self._forget_above = 2 * MAX_TENANTS

    def of(self, tenant: str) -> float:
        return self._counters.get(tenant, 0.0)

    def charge(self, tenant: str, tokens: float, weight: float) -> None:
        self._counters[tenant] = self._counters.get(tenant, 0.0) + tokens / weight
        if len(self._counters) > self._forget_above:
            self._forget()

    def join(self, queue: FairQueue) -> None:
        self._queues.add(queue)

    def enter(self, tenant: str) -> None:
        """Note that one more request of the tenant waits. The first one lifts the counter."""
        waiting = self._waiting.get(tenant, 0)
        if not waiting:
            self._counters[tenant] = max(self.of(tenant), self.floor())
        self._waiting[tenant] = waiting + 1

    def leave(self, tenant: str) -> None:
        waiting = self._waiting[tenant] - 1
        if waiting:
            self._waiting[tenant] = waiting
        else:
            del self._waiting[tenant]
            self._last_left = tenant

    def floor(self) -> float:
        """Return the smallest counter of a waiting tenant, else that of the last tenant that waited."""
        smallest = [turn[0] for queue in self._queues if (turn := queue.turn()) is not None]
        return min(smallest) if smallest else self.of(self._last_left)

    def _forget(self) -> None:
        """Drop accounts below the floor, which would be lifted to it anyway, and the lowest others above the bound."""
        floor, keep = self.floor(), {self._last_left, *self._waiting}
        above = [name for name, value in self._counters.items() if value > floor and name not in keep]
        keep.update(heapq.nlargest(MAX_TENANTS, above, key=self.of))
        self._counters = {name: self._counters[name] for name in keep if name in self._counters}
        self._forget_above = len(self._counters) + MAX_TENANTS


class FairQueue:
    """A queue of tenants in the order of their counters. A tenant's own requests follow the key of their push."""

    def __init__(self, counters: TokenCounters) -> None:
        self._counters = counters
        self._tenants: dict[str, LazyHeap] = {}
        self._turns: list[tuple[float, int, str]] = []
        """(lower bound of the counter, tie breaker, tenant): one entry per key of `_tenants`."""
        self._serial = count()
        counters.join(self)

    def push(self, key: float, request: Waiting) -> None:
        tenant = request.tenant
        self._counters.enter(tenant)
        requests = self._tenants.get(tenant)
        if requests is None:
            requests = self._tenants[tenant] = LazyHeap()
            heapq.heappush(self._turns, (self._counters.of(tenant), next(self._serial), tenant))
        requests.push(key, request)

    def turn(self) -> tuple[float, Waiting] | None:
        """Return the smallest counter and the first request of its tenant; None if the queue is empty."""
        turns = self._turns
        while turns:
            bound, _, tenant = turns[0]
            head = self._tenants[tenant].peek()
            counter = self._counters.of(tenant)
            if head is None:
                heapq.heappop(turns)
                del self._tenants[tenant]
            elif counter > bound:
                heapq.heapreplace(turns, (counter, next(self._serial), tenant))
            else:
                return counter, head
        return None

    def removed(self, request: Waiting) -> None:
        self._tenants[request.tenant].removed()
        self._counters.leave(request.tenant)
