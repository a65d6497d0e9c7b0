"""The bounded queue: one lane per class and route, ranked by the policy. The smallest rank is served next.

A route is the set of engines that serve a request's model. The requests of one route form a group with its own bounds,
so a flood for one model leaves room for the others. `blocked` lists routes whose engines have no room. Requests of
other routes, which could not have used those engines, pass theirs (work conserving).

`excluded` names classes that must not be served now because they hold their share of the engines. A class whose oldest
request is overdue (`Waiting.due`) is served anyway: a share ceiling must not break the wait bound.

Tenants share the room by weight. Otherwise a tenant that floods the queue would own it, and a fair order would not help
the others. In a full queue, an arriving request can push out the newest request of the tenant with the most waiting
requests per weight in the same class, provided that its own tenant has fewer.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator

from llm_gateway.classes import PriorityClass
from llm_gateway.engines.routes import Route
from llm_gateway.scheduling.policies import Lane, OrderingPolicy
from llm_gateway.scheduling.policies.ordering import Rank
from llm_gateway.scheduling.policies.vtc import OUTPUT_TOKEN_COST, PROMPT_TOKEN_COST
from llm_gateway.waiting import Waiting

NONE_EXCLUDED: frozenset[str] = frozenset()


class QueueFull(Exception):
    """The bound of the class or of the queue is reached. The message says which."""


class Group:
    """The requests of one route."""

    __slots__ = ("by_tenant", "depths", "lanes", "length")

    def __init__(self, policy: OrderingPolicy, classes: Iterable[PriorityClass]) -> None:
        self.lanes: dict[str, Lane] = {cls.name: policy.make_lane(cls) for cls in classes}
        self.depths = dict.fromkeys(self.lanes, 0)
        self.length = 0
        self.by_tenant: dict[str, dict[str, dict[Waiting, None]]] = {name: {} for name in self.lanes}
        """Waiting requests by class and tenant, in order of arrival."""

    def put(self, request: Waiting) -> None:
        name = request.cls.name
        request.queued = True
        self.lanes[name].push(request)
        self.by_tenant[name].setdefault(request.tenant, {})[request] = None
        self.depths[name] += 1
        self.length += 1

    def take_out(self, request: Waiting) -> None:
        name = request.cls.name
        request.queued = False
        self.lanes[name].removed(request)
        tenants = self.by_tenant[name]
        del tenants[request.tenant][request]
        if not tenants[request.tenant]:
            del tenants[request.tenant]
        self.depths[name] -= 1
        self.length -= 1

    def requests(self) -> list[Waiting]:
        return [one for tenants in self.by_tenant.values() for waiting in tenants.values() for one in waiting]

    def most_over_share(self, request: Waiting) -> Waiting | None:
        """Return the newest request of the tenant with the most per weight, None if that is not above the newcomer's.

        This takes O(tenants that wait in the class), only when the queue is full. It spares requests that had a slot.
        """
        tenants = self.by_tenant[request.cls.name]
        if not tenants:
            return None
        largest = max(tenants.values(), key=_per_weight)
        own = (len(tenants.get(request.tenant, ())) + 1) / request.weight
        if own >= _per_weight(largest):
            return None
        return next((waiting for waiting in reversed(largest) if not waiting.charged), None)


class RequestQueue:
    """The queue. Push, serve and discard take O(classes * routes + log n), amortised."""

    def __init__(self, policy: OrderingPolicy, classes: Iterable[PriorityClass], max_queue: int) -> None:
        self._policy = policy
        self._classes = list(classes)
        self._max_queue = max_queue
        self._groups: dict[Route, Group] = {}
        self._route_of: dict[Waiting, Route] = {}
        self._depths = {cls.name: 0 for cls in self._classes}
        self._length = 0
        self._pushed = 0

    def __len__(self) -> int:
        """Return the number of waiting requests."""
        return self._length

    def depth(self, class_name: str) -> int:
        return self._depths[class_name]

    def length(self, route: Route) -> int:
        """Return the number of requests that wait for exactly these engines."""
        group = self._groups.get(route)
        return 0 if group is None else group.length

    def routes(self) -> list[Route]:
        """Return the routes that requests wait for."""
        return [route for route, group in self._groups.items() if group.length]

    def waiting_for(self, route: Route) -> list[Waiting]:
        group = self._groups.get(route)
        return [] if group is None else group.requests()

    def contends(self, route: Route) -> bool:
        """Return whether a waiting request could use one of these engines."""
        if not self._length:
            return False
        return any(other is route or not set(route).isdisjoint(other) for other in self.routes())

    def route_of(self, request: Waiting) -> Route:
        """Return the engines that a queued request waits for."""
        return self._route_of[request]

    def push(self, request: Waiting, route: Route = (), *, bounded: bool = True) -> Waiting | None:
        """Queue a request for the engines of `route`. Return the request that was pushed out for it, if any.

        A request that was queued before keeps its key, due and order. Raises QueueFull if `bounded` and there is no
        room.
        """
        group = self._groups.get(route)
        if group is None:
            group = self._groups[route] = Group(self._policy, self._classes)
        pushed_out = self._make_room(group, request) if bounded else None
        self._register(request)
        self._route_of[request] = route
        group.put(request)
        self._count(request, 1)
        return pushed_out

    def peek(
        self, now: float, excluded: Collection[str] = NONE_EXCLUDED, blocked: Collection[Route] = ()
    ) -> Waiting | None:
        """Return the next request at `now`, seconds on the clock of `Waiting.arrived`; None if none can be served."""
        lane = self._next_lane(now, excluded, blocked)
        return None if lane is None else lane.peek(now)

    def pop(self, now: float, excluded: Collection[str] = NONE_EXCLUDED) -> Waiting | None:
        """Serve and return the next request, None if none can be served."""
        request = self.peek(now, excluded)
        if request is not None:
            self.serve(request)
        return request

    def serve(self, request: Waiting) -> None:
        """Take a request out and charge its prompt to its tenant."""
        self.admit(request)
        self._take_out(request)

    def discard(self, request: Waiting) -> bool:
        """Take a request out without serving it. Return False if it is not in the queue."""
        if not request.queued:
            return False
        self._take_out(request)
        return True

    def reroute(self, route_of: Callable[[Waiting], Route]) -> None:
        """Move every request to the group of its new route, in the old order, after a change of engines or models."""
        waiting = [request for group in self._groups.values() for request in group.requests()]
        waiting.sort(key=lambda request: request.order)
        for request in waiting:
            self._take_out(request)
        self._groups.clear()
        for request in waiting:
            self.push(request, route_of(request), bounded=False)

    def admit(self, request: Waiting) -> None:
        """Charge a request's prompt to its tenant, once per request. A request that never waited is charged as well."""
        self._register(request)
        if not request.charged:
            request.charged = True
            self._policy.charge(request, PROMPT_TOKEN_COST * max(1, request.prompt_tokens))

    def charge(self, request: Waiting, output_tokens: int) -> None:
        """Charge output tokens that an engine produced to the request's tenant."""
        self._policy.charge(request, OUTPUT_TOKEN_COST * output_tokens)

    def oldest(self) -> Iterator[Waiting]:
        """Yield the request with the smallest key of each lane."""
        for group in self._groups.values():
            for lane in group.lanes.values():
                if (request := lane.oldest()) is not None:
                    yield request

    def _register(self, request: Waiting) -> None:
        if request.order < 0:
            request.key = self._policy.key(request)
            request.due = self._policy.due(request.key)
            request.order = self._pushed
            self._pushed += 1

    def _next_lane(self, now: float, excluded: Collection[str], blocked: Collection[Route]) -> Lane | None:
        best: Lane | None = None
        best_rank: Rank | None = None
        for route, group in self._groups.items():
            if not group.length or route in blocked:
                continue
            for name, lane in group.lanes.items():
                rank = lane.rank(now) if group.depths[name] else None
                if rank is None or (best_rank is not None and best_rank < rank):
                    continue
                if name not in excluded or _overdue(lane, now):
                    best, best_rank = lane, rank
        return best

    def _take_out(self, request: Waiting) -> None:
        self._groups[self._route_of.pop(request)].take_out(request)
        self._count(request, -1)

    def _make_room(self, group: Group, request: Waiting) -> Waiting | None:
        """Return the request that was taken out for this one, None if there was room. Raises QueueFull."""
        full = self._why_full(group, request.cls)
        if full is None:
            return None
        victim = group.most_over_share(request)
        if victim is None:
            raise QueueFull(full)
        self._take_out(victim)
        return victim

    def _why_full(self, group: Group, cls: PriorityClass) -> str | None:
        if group.depths[cls.name] >= cls.max_queue:
            return f"the queue of class {cls.name} is full: {group.depths[cls.name]} requests wait"
        if group.length >= self._max_queue:
            return f"the queue is full: {group.length} requests wait"
        return None

    def _count(self, request: Waiting, change: int) -> None:
        self._depths[request.cls.name] += change
        self._length += change


def _overdue(lane: Lane, now: float) -> bool:
    oldest = lane.oldest()
    return oldest is not None and oldest.due <= now


def _per_weight(waiting: dict[Waiting, None]) -> float:
    """Return the number of a tenant's requests over its weight."""
    return len(waiting) / next(iter(waiting)).weight
