"""The default: classes by aging, tenants within a class by VTC, requests of a tenant by deadline; with a wait bound.

Purpose     Serve urgent classes first, share a class between tenants by weight, respect deadlines, starve no request.
Formula     1. Class: the one whose oldest request has the smallest aging key p + a * t.
            2. Tenant: the smallest virtual token counter among the tenants that wait in the class. Counters are per
               class, so a tenant's batch load costs it nothing in interactive.
            3. Request: the tenant's earliest deadline.
            Guard: once the class's oldest request is past D = t + (p - p0) / a + S, the class serves that one instead.
Inputs      Class priority, arrival time, tenant, weight, tokens, deadline.
Config      `aging_rate` a, priority levels per second; `fairness_window` S, seconds; the tenants' weights.
Trade-off   S is how long fairness, deadlines or a class's share ceiling can hold a request back. While waits stay below
            (p - p0) / a + S, tenants share by weight whatever they send. If a class waits longer than that for good,
            its order is first come, first served. A tenant's share is then its share of the bounded queue, which
            pushing out keeps to the weights. A larger S keeps fairness longer and loosens the bound.
            In lasting overload an urgent class keeps a head start of (p - p0) / a seconds over a less urgent class and
            no more. To be served at once, it needs (p - p0) / a above the time to serve a full queue, or the less
            urgent classes must be shed earlier.

Wait bound  wait <= (p - p0) / a + S + N / service rate, N <= max_queue; none if a = 0.

            Write key(r) = p + a * t and D(r) = (key(r) - p0) / a + S: D never decreases with the key.
            (i)  From D(r) on no request with a larger key than r is served before r. Let r wait at some now >= D(r).
            Its
                 class is a candidate even if a share ceiling excludes it, because its oldest request o' has key(o') <=
                 key(r), so D(o') <= D(r) <= now, and classes with an overdue request are never excluded. The class that
                 is chosen has the smallest oldest key of all candidates: its oldest request o has key(o) <= key(o') <=
                 key(r), so D(o) <= now, so the guard serves o itself, and its key is not larger than r's.
            (ii) A request that arrives after D(r) has a larger key: p' + a * t' > p0 + a * (D(r) - S) = key(r).
            So from D(r) on r waits only for requests with smaller keys that were queued at D(r). There are at most
            max_queue of them, and each takes one grant. A request that fails at an engine or is preempted returns with
            its key and can go first again: each such return of an older request adds one to N.
"""

from __future__ import annotations

from llm_gateway.classes import PriorityClass
from llm_gateway.scheduling.policies.aging import Aging
from llm_gateway.scheduling.policies.fair_queue import FairQueue, TokenCounters
from llm_gateway.scheduling.policies.lazy_heap import LazyHeap
from llm_gateway.scheduling.policies.ordering import Lane, Rank
from llm_gateway.waiting import Waiting


class Composite:
    """Aging between classes, virtual token counters between tenants, deadlines within a tenant."""

    def __init__(self, aging: Aging) -> None:
        self.key = aging.key
        self.due = aging.due
        self._counters: dict[str, TokenCounters] = {}

    def make_lane(self, cls: PriorityClass) -> Lane:
        return CompositeLane(self._of(cls.name))

    def charge(self, request: Waiting, tokens: float) -> None:
        self._of(request.cls.name).charge(request.tenant, tokens, request.weight)

    def _of(self, class_name: str) -> TokenCounters:
        found = self._counters.get(class_name)
        if found is None:
            found = self._counters[class_name] = TokenCounters()
        return found


class CompositeLane:
    """A lane that keeps each request in two heaps, by age and by its tenant's deadlines. It leaves both at once."""

    __slots__ = ("_by_age", "_fair")

    def __init__(self, counters: TokenCounters) -> None:
        self._by_age = LazyHeap()
        self._fair = FairQueue(counters)

    def push(self, request: Waiting) -> None:
        self._by_age.push(request.key, request)
        self._fair.push(request.deadline, request)

    def rank(self, now: float) -> Rank | None:
        oldest = self._by_age.peek()
        return None if oldest is None else (oldest.key, oldest.order)

    def peek(self, now: float) -> Waiting | None:
        oldest = self._by_age.peek()
        if oldest is None or oldest.due <= now:
            return oldest
        turn = self._fair.turn()
        return None if turn is None else turn[1]

    def oldest(self) -> Waiting | None:
        return self._by_age.peek()

    def removed(self, request: Waiting) -> None:
        self._by_age.removed()
        self._fair.removed(request)
