"""The bounded queue: one lane per class, ranked by the policy; the lane with the smallest rank serves next.

`excluded` names classes that may not be served now, as they hold their share of the engines already. A class whose
oldest request is overdue (`Waiting.due`) is served all the same: a share ceiling must not break the wait bound.

Tenants share the room by weight, or one that floods the queue would own it and fairness in the order would be of no
use: in a full queue, a newcomer whose tenant has fewer requests per weight waiting in the class than another one pushes
out the newest request of the tenant that has the most.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator

from llm_gateway.classes import PriorityClass
from llm_gateway.policies import Lane, OrderingPolicy
from llm_gateway.policies.ordering import Rank
from llm_gateway.policies.vtc import OUTPUT_TOKEN_COST, PROMPT_TOKEN_COST
from llm_gateway.waiting import Waiting

NONE_EXCLUDED: frozenset[str] = frozenset()


class QueueFull(Exception):
    """The class's bound or the total bound is reached; the message says which."""


class RequestQueue:
    """Push, pop and discard cost O(classes + log n), amortised."""

    def __init__(self, policy: OrderingPolicy, classes: Iterable[PriorityClass], max_queue: int) -> None:
        self._policy = policy
        self._max_queue = max_queue
        self._lanes: dict[str, Lane] = {cls.name: policy.make_lane(cls) for cls in classes}
        self._depths = dict.fromkeys(self._lanes, 0)
        self._length = 0
        self._pushed = 0
        self._by_tenant: dict[str, dict[str, dict[Waiting, None]]] = {name: {} for name in self._lanes}
        """Who waits, by class and tenant, in the order in which they came."""
        self.on_push_out: Callable[[Waiting], None] | None = None
        """Tells a request that its place was taken. Without it nobody is pushed out."""

    def __len__(self) -> int:
        """Requests that wait, without those that went away."""
        return self._length

    def depth(self, class_name: str) -> int:
        return self._depths[class_name]

    def push(self, request: Waiting, *, bounded: bool = True) -> None:
        """Raises QueueFull unless not `bounded`. A request that was queued before keeps its key, due and order."""
        pushed_out = self._make_room(request) if bounded else None
        self._register(request)
        request.queued = True
        self._lanes[request.cls.name].push(request)
        self._by_tenant[request.cls.name].setdefault(request.tenant, {})[request] = None
        self._count(request, 1)
        if pushed_out is not None and self.on_push_out is not None:
            self.on_push_out(pushed_out)

    def peek(self, now: float, excluded: Collection[str] = NONE_EXCLUDED) -> Waiting | None:
        """Who is next at `now`, seconds on the clock of `Waiting.arrived`; None if nobody may be served."""
        lane = self._next_lane(now, excluded)
        return None if lane is None else lane.peek(now)

    def pop(self, now: float, excluded: Collection[str] = NONE_EXCLUDED) -> Waiting | None:
        """Takes out who is next, and puts its prompt on its tenant's account."""
        request = self.peek(now, excluded)
        if request is not None:
            self.admit(request)
            self._take_out(request)
        return request

    def discard(self, request: Waiting) -> bool:
        """Takes the request out, if it is still in; says whether it was."""
        if not request.queued:
            return False
        self._take_out(request)
        return True

    def admit(self, request: Waiting) -> None:
        """For a request that found a free engine and never waited: its prompt counts as well. Once per request."""
        self._register(request)
        if not request.charged:
            request.charged = True
            self._policy.charge(request, PROMPT_TOKEN_COST * max(1, request.prompt_tokens))

    def charge(self, request: Waiting, output_tokens: int) -> None:
        """Puts output tokens that the engine produced on the account of the request's tenant."""
        self._policy.charge(request, OUTPUT_TOKEN_COST * output_tokens)

    def oldest(self) -> Iterator[Waiting]:
        """The request with the smallest key of each class."""
        for lane in self._lanes.values():
            if (request := lane.oldest()) is not None:
                yield request

    def _register(self, request: Waiting) -> None:
        if request.order < 0:
            request.key = self._policy.key(request)
            request.due = self._policy.due(request.key)
            request.order = self._pushed
            self._pushed += 1

    def _next_lane(self, now: float, excluded: Collection[str]) -> Lane | None:
        best: Lane | None = None
        best_rank: Rank | None = None
        for name, lane in self._lanes.items():
            rank = lane.rank(now) if self._depths[name] else None
            if rank is None or (best_rank is not None and best_rank < rank):
                continue
            if name not in excluded or _overdue(lane, now):
                best, best_rank = lane, rank
        return best

    def _take_out(self, request: Waiting) -> None:
        request.queued = False
        self._lanes[request.cls.name].removed(request)
        tenants = self._by_tenant[request.cls.name]
        del tenants[request.tenant][request]
        if not tenants[request.tenant]:
            del tenants[request.tenant]
        self._count(request, -1)

    def _make_room(self, request: Waiting) -> Waiting | None:
        """The request that was taken out for this one, None if there was room. Raises QueueFull."""
        full = self._why_full(request.cls)
        if full is None:
            return None
        victim = self._most_over_share(request)
        if victim is None:
            raise QueueFull(full)
        self._take_out(victim)
        return victim

    def _why_full(self, cls: PriorityClass) -> str | None:
        if self._depths[cls.name] >= cls.max_queue:
            return f"the queue of class {cls.name} is full: {self._depths[cls.name]} requests wait"
        if self._length >= self._max_queue:
            return f"the queue is full: {self._length} requests wait"
        return None

    def _most_over_share(self, request: Waiting) -> Waiting | None:
        """The newest request of the tenant with the most per weight, None unless that is more than the newcomer's.

        O(tenants that wait in the class), only when the queue is full. One that had a slot before is left alone.
        """
        tenants = self._by_tenant[request.cls.name]
        if self.on_push_out is None or not tenants:
            return None
        largest = max(tenants.values(), key=_per_weight)
        own = (len(tenants.get(request.tenant, ())) + 1) / request.weight
        if own >= _per_weight(largest):
            return None
        return next((waiting for waiting in reversed(largest) if not waiting.charged), None)

    def _count(self, request: Waiting, change: int) -> None:
        self._depths[request.cls.name] += change
        self._length += change


def _overdue(lane: Lane, now: float) -> bool:
    oldest = lane.oldest()
    return oldest is not None and oldest.due <= now


def _per_weight(waiting: dict[Waiting, None]) -> float:
    """Requests of one tenant over its weight."""
    return len(waiting) / next(iter(waiting)).weight
