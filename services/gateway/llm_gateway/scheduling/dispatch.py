"""Late binding: a request leaves the queue only when an engine has a slot for it, and then the best one leaves.

    permit = await dispatcher.acquire(waiting)
    with permit as engine: …

Invariants, both kept by `_pump` after every change. Work conserving: no request waits while an engine of its route has
a free slot, unless one whose turn comes before it waits for KV room on that engine. No request waits while all engines
of its route are down: it fails at once, with the reason.

Engines can serve different models. The head of the queue is passed over while the engines that serve its model have no
room, by requests for other engines only: one busy model does not hold up another one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from typing import NotRequired, Protocol, TypedDict, Unpack

from llm_contract.errors import ApiError, ErrorKind
from llm_gateway.engines import Engine, EnginePool, Permit
from llm_gateway.engines.routes import Route
from llm_gateway.request.classes import ClassTable
from llm_gateway.scheduling.listener import QueueListener
from llm_gateway.scheduling.preemption import Preemption
from llm_gateway.scheduling.queue import NONE_EXCLUDED, QueueFull, RequestQueue
from llm_gateway.scheduling.service_rate import ServiceRate
from llm_gateway.scheduling.shedding import Shedder
from llm_gateway.scheduling.wait_bound import WaitBound
from llm_gateway.scheduling.waiting import Waiting
from llm_gateway.settings import GatewaySettings

MAX_RETRY_AFTER = 60.0


class Grant(Protocol):
    """The outcome that a queued request waits for: an asyncio.Future, or the simulation's stand-in."""

    def done(self) -> bool: ...
    def set_result(self, permit: Permit, /) -> None: ...
    def set_exception(self, error: ApiError, /) -> None: ...


class Scheduling(TypedDict):
    """The parts that a dispatcher works with, by name."""

    pool: EnginePool
    rate: ServiceRate
    wait_bound: WaitBound
    clock: Callable[[], float]
    on_shed: Callable[[str], None]
    """Called with the name of a class when one of its requests is shed."""
    listener: NotRequired[QueueListener]


class Dispatcher:
    def __init__(
        self,
        settings: GatewaySettings,
        classes: ClassTable,
        queue: RequestQueue,
        **scheduling: Unpack[Scheduling],
    ) -> None:
        pool = scheduling["pool"]
        self._rate = scheduling["rate"]
        self._wait_bound = scheduling["wait_bound"]
        self._clock = scheduling["clock"]
        self._on_shed = scheduling["on_shed"]
        self._classes = classes
        self._queue = queue
        self._pool = pool
        self._max_queue = settings.max_queue
        self._down_retry_after = settings.probe_interval
        self._timed_out = ErrorKind.QUEUE_TIMEOUT if settings.queue_timeout_status == 408 else ErrorKind.OVERLOADED
        self._shedder = Shedder(settings.shedding, settings.classes)
        self._routes = pool.routes
        """As of the last look: the queue's groups are by these."""
        self._waiting: dict[Waiting, Grant] = {}
        self.preemption = Preemption(settings.preemption, self._clock)
        self._listener = scheduling.get("listener", QueueListener())
        self._listener.watch(queue, pool)
        pool.on_release = self._listener.released
        pool.on_change = self._pump
        queue.on_push_out = self._push_out

    async def acquire(self, request: Waiting) -> Permit:
        """Wait for this request's turn and return its slot. A full queue does not keep out one that had a slot before.

        Raises ApiError: QUEUE_FULL; QUEUE_TIMEOUT or OVERLOADED after its class's `queue_timeout`; ENGINE_UNAVAILABLE
        if every engine of its route is or goes down. Cancelled while it waits, it leaves the queue; cancelled in the
        same moment as it was granted, the slot goes back.
        """
        if permit := self._at_once(request):
            self._queue.admit(request)
            self.preemption.granted(request)
            self._listener.enqueued(request)
            self._listener.granted(request, permit)
            return permit
        route = self._pool.routes.of(request.model)
        if not self._pool.any_up(route):
            raise self._refusal(request, self._unavailable(route))
        self._enqueue(request, route)
        granted: asyncio.Future[Permit] = asyncio.get_running_loop().create_future()
        self._waiting[request] = granted
        try:
            self._pump()
            if not granted.done():
                self.preemption.make_room(request, route)
            async with asyncio.timeout(request.cls.queue_timeout):
                return await granted
        except TimeoutError:
            self._withdraw(request, granted, self._timed_out)
            raise self._waited_too_long(request) from None
        except asyncio.CancelledError:
            self._withdraw(request, granted, ErrorKind.CLIENT_CLOSED)
            raise
        finally:
            self._waiting.pop(request, None)

    def spare(self, request: Waiting) -> Permit | None:
        """Return a slot for a second, hedged try, if no request waits for it."""
        permit = self._at_once(request)
        if permit is not None:
            self._listener.granted(request, permit)
        return permit

    def _at_once(self, request: Waiting) -> Permit | None:
        return None if self._queue.contends(self._pool.routes.of(request.model)) else self._pool.take(request)

    def predicted_wait(self, request: Waiting) -> float:
        """Return the seconds until a request like this one would start from the end of the queue, 1 to 60."""
        route = self._pool.routes.of(request.model)
        rate = self._rate.per_second(request.output_tokens, self._pool.slots(route))
        return min(MAX_RETRY_AFTER, max(1.0, (self._queue.length(route) + 1) / rate)) if rate else MAX_RETRY_AFTER

    def _enqueue(self, request: Waiting, route: Route) -> None:
        self._follow_routes()
        returning = request.charged
        try:
            if not returning and not self._shedder.admit(request.cls, self._saturation(route)):
                self._on_shed(request.cls.name)
                waiting = self._queue.length(route)
                raise QueueFull(f"class {request.cls.name} is being shed: {waiting} requests wait")
            self._queue.push(request, route, bounded=not returning)
            self._entered(request, route)
            self._listener.enqueued(request)
        except QueueFull as full:
            wait = self.predicted_wait(request)
            error = ApiError(ErrorKind.QUEUE_FULL, f"{full}; retry in about {wait:.0f} s", retry_after=wait)
            raise self._refusal(request, error) from None

    def _refusal(self, request: Waiting, error: ApiError) -> ApiError:
        self._listener.refused(request, error.kind, error.message)
        return error

    def _push_out(self, request: Waiting) -> None:
        """Fail a request whose tenant has more than its share of a full queue, for another tenant's request."""
        self._left(request)
        self._listener.left(request, ErrorKind.QUEUE_FULL)
        if granted := self._undecided(request):
            wait = self.predicted_wait(request)
            message = f"the queue is full, and others have fewer requests in it; retry in about {wait:.0f} s"
            del self._waiting[request]
            granted.set_exception(ApiError(ErrorKind.QUEUE_FULL, message, retry_after=wait))

    def _saturation(self, route: Route) -> float:
        """Return how full the queue is, 0 to 1; a class's own bound, which it cannot exceed, does not count."""
        return self._queue.length(route) / self._max_queue if self._max_queue else 0.0

    def _withdraw(self, request: Waiting, granted: asyncio.Future[Permit], reason: ErrorKind) -> None:
        if self._queue.discard(request):
            self._left(request)
            self._listener.left(request, reason)
        if granted.done() and not granted.cancelled() and granted.exception() is None:
            self.preemption.answered(request)
            granted.result().release()
        self._pump()

    def _pump(self) -> None:
        if not self._queue:
            return
        self._follow_routes()
        self._fail_stranded()
        while self._queue and self._grant_next():
            pass

    def _follow_routes(self) -> None:
        if self._routes is not self._pool.routes:
            self._routes = self._pool.routes
            self._queue.reroute(lambda request: self._pool.routes.of(request.model))

    def _grant_next(self) -> bool:
        """Serve the first request in the policy's order that an engine has room for; False if there is none.

        A request that is too large for what is free on its engines is waited for, or small ones would always pass it:
        those engines are reserved, and only requests that can run on others are looked at after it.
        """
        now, excluded = self._clock(), self._at_ceiling()
        reserved: set[Engine] = set()
        while True:
            routes = self._queue.routes()
            blocked = [route for route in routes if not self._pool.has_free_slot(route, reserved)]
            if len(blocked) == len(routes):
                return False
            head = self._queue.peek(now, excluded, blocked)
            if head is None:
                excluded = NONE_EXCLUDED  # the classes that the ceiling is for cannot use what is free
            elif self._pool.has_room(head, reserved):
                self._take_out(head)
                if (granted := self._undecided(head)) and (permit := self._pool.take(head, reserved)):
                    self._grant(head, granted, permit, now)
                return True
            else:
                reserved.update(self._queue.route_of(head))

    def _take_out(self, head: Waiting) -> None:
        self._queue.serve(head)
        self._left(head)

    def _grant(self, head: Waiting, granted: Grant, permit: Permit, now: float) -> None:
        self._wait_bound.check(head, now, permit.engine)
        self.preemption.granted(head)
        del self._waiting[head]
        self._listener.granted(head, permit)
        granted.set_result(permit)

    def _entered(self, request: Waiting, route: Route) -> None:
        """Called when a request has entered the queue; a fleet overrides it."""

    def _left(self, request: Waiting) -> None:
        """Called when a request has left the queue."""

    def _undecided(self, request: Waiting) -> Grant | None:
        """Return None if the request was cancelled a moment ago and has not left the queue yet."""
        granted = self._waiting.get(request)
        return granted if granted is not None and not granted.done() else None

    def _at_ceiling(self) -> Collection[str]:
        """Classes that hold their share of the slots, as long as a class that does not is waiting."""
        limited = [cls for cls in self._classes if cls.share < 1 and self._queue.depth(cls.name)]
        if not limited:
            return NONE_EXCLUDED
        slots = self._pool.slots()
        full = {cls.name for cls in limited if self._pool.held(cls.name) >= max(1, int(cls.share * slots))}
        others = any(self._queue.depth(cls.name) for cls in self._classes if cls.name not in full)
        return full if others else NONE_EXCLUDED

    def _fail_stranded(self) -> None:
        """Fail the requests whose engines are all down."""
        for route in self._queue.routes():
            if not self._pool.any_up(route):
                for request in self._queue.waiting_for(route):
                    self._take_out(request)
                    self._listener.left(request, ErrorKind.ENGINE_UNAVAILABLE)
                    if granted := self._undecided(request):
                        granted.set_exception(self._unavailable(route))

    def _unavailable(self, route: Route) -> ApiError:
        message = f"no engine is available; tried {self._pool.why_down(route)}"
        return ApiError(ErrorKind.ENGINE_UNAVAILABLE, message, retry_after=self._down_retry_after)

    def _waited_too_long(self, request: Waiting) -> ApiError:
        message = f"no slot within {request.cls.queue_timeout:g} s, the limit of class {request.cls.name}"
        return ApiError(self._timed_out, message, retry_after=self.predicted_wait(request))
