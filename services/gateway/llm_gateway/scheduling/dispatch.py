"""Late binding: a request leaves the queue only when an engine has a slot, and then the best request leaves.

    permit = await dispatcher.acquire(waiting)
    with permit as engine: …

`_pump` restores two invariants after every change. Work conserving: no request waits while an engine of its route has a
free slot, unless an earlier request waits for KV room on that engine. No request waits while all engines of its route
are down: it fails at once, with the reason.

Engines can serve different models. While the engines for the head of the queue have no room, requests for other engines
pass it: one busy model does not block another.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from typing import Protocol

from llm_contract.errors import ApiError, ErrorKind
from llm_gateway.classes import ClassTable
from llm_gateway.engines import Engine, EnginePool, Permit
from llm_gateway.engines.routes import Route
from llm_gateway.scheduling.listener import QueueListener
from llm_gateway.scheduling.preemption import Preemption
from llm_gateway.scheduling.queue import NONE_EXCLUDED, QueueFull, RequestQueue
from llm_gateway.scheduling.shedding import Shedder
from llm_gateway.scheduling.wait_bound import WaitBound
from llm_gateway.settings import GatewaySettings
from llm_gateway.waiting import Waiting

MAX_RETRY_AFTER = 60.0


class Grant(Protocol):
    """The result that a queued request waits for: an asyncio.Future, or the simulation's stand-in."""

    def done(self) -> bool: ...
    def set_result(self, permit: Permit, /) -> None: ...
    def set_exception(self, error: ApiError, /) -> None: ...


class Dispatcher:
    """Gives slots to waiting requests. `on_shed` is called with the class's name when a request is shed."""

    def __init__(
        self,
        settings: GatewaySettings,
        classes: ClassTable,
        queue: RequestQueue,
        *,
        pool: EnginePool,
        wait_bound: WaitBound,
        clock: Callable[[], float],
        on_shed: Callable[[str], None],
        listener: QueueListener | None = None,
    ) -> None:
        self._wait_bound = wait_bound
        self._clock = clock
        self._on_shed = on_shed
        self._classes = classes
        self._queue = queue
        self._pool = pool
        self._max_queue = settings.max_queue
        self._down_retry_after = settings.probe_interval
        self._timed_out = ErrorKind.QUEUE_TIMEOUT if settings.queue_timeout_status == 408 else ErrorKind.OVERLOADED
        self._shedder = Shedder(settings.shedding, settings.classes)
        self._routes = pool.routes
        """The routes that the queue's groups follow."""
        self._waiting: dict[Waiting, Grant] = {}
        self.preemption = Preemption(settings.preemption, self._clock)
        self._listener = QueueListener() if listener is None else listener
        self._listener.watch(queue, pool)
        pool.on_release.subscribe(self._listener.released)
        pool.on_change.subscribe(self._pump)

    async def acquire(self, request: Waiting) -> Permit:
        """Wait for the request's turn and return its slot. A request that had a slot before enters even a full queue.

        Raise ApiError: QUEUE_FULL; QUEUE_TIMEOUT or OVERLOADED after the class's `queue_timeout`; ENGINE_UNAVAILABLE if
        all engines of its route are down. If the call is cancelled, the request leaves the queue, and a slot that was
        granted at the same moment is given back.
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
        """Return a slot for a second, hedged attempt, None if there is none that no other request waits for."""
        permit = self._at_once(request)
        if permit is not None:
            self._listener.granted(request, permit)
        return permit

    def _at_once(self, request: Waiting) -> Permit | None:
        return None if self._queue.contends(self._pool.routes.of(request.model)) else self._pool.take(request)

    def predicted_wait(self, request: Waiting) -> float:
        """Return the predicted wait of a request at the end of the queue, 1 to 60 seconds."""
        route = self._pool.routes.of(request.model)
        rate = self._pool.rate.per_second(request.output_tokens, self._pool.slots(route))
        return min(MAX_RETRY_AFTER, max(1.0, (self._queue.length(route) + 1) / rate)) if rate else MAX_RETRY_AFTER

    def _enqueue(self, request: Waiting, route: Route) -> None:
        self._follow_routes()
        returning = request.charged
        try:
            if not returning and not self._shedder.admit(request.cls, self._saturation(route)):
                self._on_shed(request.cls.name)
                waiting = self._queue.length(route)
                raise QueueFull(f"class {request.cls.name} is being shed: {waiting} requests wait")
            pushed_out = self._queue.push(request, route, bounded=not returning)
        except QueueFull as full:
            wait = self.predicted_wait(request)
            error = ApiError(ErrorKind.QUEUE_FULL, f"{full}; retry in about {wait:.0f} s", retry_after=wait)
            raise self._refusal(request, error) from None
        if pushed_out is not None:
            self._push_out(pushed_out)
        self._entered(request, route)
        self._listener.enqueued(request)

    def _refusal(self, request: Waiting, error: ApiError) -> ApiError:
        self._listener.refused(request, error.kind, error.message)
        return error

    def _push_out(self, request: Waiting) -> None:
        """Fail a request that another tenant's request has pushed out of a full queue."""
        self._left(request)
        self._listener.left(request, ErrorKind.QUEUE_FULL)
        if granted := self._undecided(request):
            wait = self.predicted_wait(request)
            message = f"the queue is full, and other tenants have fewer requests in it; retry in about {wait:.0f} s"
            del self._waiting[request]
            granted.set_exception(ApiError(ErrorKind.QUEUE_FULL, message, retry_after=wait))

    def _saturation(self, route: Route) -> float:
        """Return how full the queue is, from 0 to 1. The bounds of single classes do not count."""
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
        """Serve the first request in the policy's order that an engine has room for. Return False if there is none.

        If a request is too large for the free room on its engines, those engines are reserved for it, or small requests
        would always pass it. Only requests that can run on other engines are considered after it.
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
                excluded = NONE_EXCLUDED  # no other class can use the free slots
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
        """React to a request that has entered the queue. A fleet offers it to the other gateways."""

    def _left(self, request: Waiting) -> None:
        """React to a request that has left the queue for any reason. A fleet withdraws the offer."""

    def _undecided(self, request: Waiting) -> Grant | None:
        """Return the request's grant, None if it has just been cancelled and has not left the queue yet."""
        granted = self._waiting.get(request)
        return granted if granted is not None and not granted.done() else None

    def _at_ceiling(self) -> Collection[str]:
        """Return the classes that hold their share of the slots, none unless another class is waiting."""
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
