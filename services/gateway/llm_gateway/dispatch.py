"""Late binding: a request leaves the queue only when an engine has a slot for it, and then the best one leaves.

    permit = await dispatcher.acquire(waiting)
    with permit as engine: …

Invariants, both kept by `_pump` after every change: no request waits while an engine that is up has room for the one
whose turn it is (work conserving), and no request waits while every engine is down (it fails at once, with the reason).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection

from llm_contract.errors import ApiError, ErrorKind
from llm_gateway.classes import ClassTable
from llm_gateway.engines import EnginePool, Permit
from llm_gateway.preemption import Preemption
from llm_gateway.queue import NONE_EXCLUDED, QueueFull, RequestQueue
from llm_gateway.rate import ServiceRate
from llm_gateway.settings import GatewaySettings
from llm_gateway.shedding import Shedder
from llm_gateway.wait_bound import WaitBound
from llm_gateway.waiting import Waiting

MAX_RETRY_AFTER = 60.0


class Dispatcher:
    def __init__(
        self,
        settings: GatewaySettings,
        classes: ClassTable,
        queue: RequestQueue,
        pool: EnginePool,
        rate: ServiceRate,
        wait_bound: WaitBound,
        clock: Callable[[], float],
        on_shed: Callable[[str], None],
    ) -> None:
        self._classes = classes
        self._queue = queue
        self._pool = pool
        self._rate = rate
        self._wait_bound = wait_bound
        self._clock = clock
        self._max_queue = settings.max_queue
        self._down_retry_after = settings.probe_interval
        self._timed_out = ErrorKind.QUEUE_TIMEOUT if settings.queue_timeout_status == 408 else ErrorKind.OVERLOADED
        self._shedder = Shedder(settings.shedding, settings.classes)
        self._on_shed = on_shed
        self.preemption = Preemption(settings.preemption, clock)
        pool.on_change = self._pump
        queue.on_push_out = self._push_out

    async def acquire(self, request: Waiting) -> Permit:
        """A slot, once it is this request's turn. One that had a slot before is not kept out by a full queue.

        Raises ApiError: QUEUE_FULL; QUEUE_TIMEOUT or OVERLOADED after its class's `queue_timeout`; ENGINE_UNAVAILABLE
        if every engine is or goes down. Cancelled while it waits, it leaves the queue; cancelled in the same moment as
        it was granted, the slot goes back.
        """
        if permit := self._at_once(request):
            self._queue.admit(request)
            self.preemption.granted(request)
            return permit
        if not self._pool.any_up():
            raise self._unavailable()
        self._enqueue(request)
        granted: asyncio.Future[Permit] = asyncio.get_running_loop().create_future()
        request.granted = granted
        self._pump()
        if not granted.done():
            self.preemption.make_room(request)
        try:
            async with asyncio.timeout(request.cls.queue_timeout):
                return await granted
        except TimeoutError:
            self._withdraw(request, granted)
            raise self._waited_too_long(request) from None
        except asyncio.CancelledError:
            self._withdraw(request, granted)
            raise

    def spare(self, request: Waiting) -> Permit | None:
        """A slot for a second try beside the first, if nobody waits for it."""
        return self._at_once(request)

    def _at_once(self, request: Waiting) -> Permit | None:
        return self._pool.take(request) if not self._queue else None

    def predicted_wait(self, request: Waiting) -> float:
        """Return the seconds until a request like this one would start from the end of the queue, 1 to 60."""
        rate = self._rate.per_second(request.output_tokens)
        return min(MAX_RETRY_AFTER, max(1.0, (len(self._queue) + 1) / rate)) if rate else MAX_RETRY_AFTER

    def _enqueue(self, request: Waiting) -> None:
        returning = request.charged
        try:
            if not returning and not self._shedder.admit(request.cls, self._saturation(request)):
                self._on_shed(request.cls.name)
                raise QueueFull(f"class {request.cls.name} is being shed: {len(self._queue)} requests wait")
            self._queue.push(request, bounded=not returning)
            self._entered(request)
        except QueueFull as full:
            wait = self.predicted_wait(request)
            message = f"{full}; retry in about {wait:.0f} s"
            raise ApiError(ErrorKind.QUEUE_FULL, message, retry_after=wait) from None

    def _push_out(self, request: Waiting) -> None:
        """Its tenant has more than its share of a full queue, and another tenant's request took its place."""
        self._left(request)
        if granted := undecided(request):
            wait = self.predicted_wait(request)
            message = f"the queue is full, and others have fewer requests in it; retry in about {wait:.0f} s"
            granted.set_exception(ApiError(ErrorKind.QUEUE_FULL, message, retry_after=wait))

    def _saturation(self, request: Waiting) -> float:
        """How full the queue is; a class's own bound, which it cannot exceed, is not for shedding."""
        return len(self._queue) / self._max_queue if self._max_queue else 0.0

    def _withdraw(self, request: Waiting, granted: asyncio.Future[Permit]) -> None:
        if self._queue.discard(request):
            self._left(request)
        if granted.done() and not granted.cancelled() and granted.exception() is None:
            self.preemption.answered(request)
            granted.result().release()
        self._pump()

    def _pump(self) -> None:
        while self._queue:
            if not self._pool.any_up():
                self._fail_all()
            elif not self._grant_next():
                return

    def _grant_next(self) -> bool:
        """False if whose turn it is has to wait on.

        A request that is too large for what is free now is waited for, or small ones would pass it for ever.
        """
        if not self._pool.has_free_slot():
            return False
        now, excluded = self._clock(), self._at_ceiling()
        head = self._queue.peek(now, excluded)
        if head is None or not self._pool.has_room(head):
            return False
        self._pop(head, now, excluded)
        if (granted := undecided(head)) and (permit := self._pool.take(head)):
            self._grant(head, granted, permit, now)
        return True

    def _pop(self, head: Waiting, now: float, excluded: Collection[str]) -> None:
        self._queue.pop(now, excluded)
        self._left(head)

    def _grant(self, head: Waiting, granted: asyncio.Future[Permit], permit: Permit, now: float) -> None:
        self._wait_bound.check(head, now)
        self.preemption.granted(head)
        granted.set_result(permit)

    def _entered(self, request: Waiting) -> None:
        """It is in the queue now; for a fleet, which has to know."""

    def _left(self, request: Waiting) -> None:
        """It is not in the queue any more."""

    def _at_ceiling(self) -> Collection[str]:
        """Classes that hold their share of the slots, as long as a class that does not is waiting."""
        limited = [cls for cls in self._classes if cls.share < 1 and self._queue.depth(cls.name)]
        if not limited:
            return NONE_EXCLUDED
        slots = self._pool.slots()
        full = {cls.name for cls in limited if self._pool.held(cls.name) >= max(1, int(cls.share * slots))}
        others = any(self._queue.depth(cls.name) for cls in self._classes if cls.name not in full)
        return full if others else NONE_EXCLUDED

    def _fail_all(self) -> None:
        while request := self._queue.pop(self._clock()):
            self._left(request)
            if granted := undecided(request):
                granted.set_exception(self._unavailable())

    def _unavailable(self) -> ApiError:
        message = f"no engine is available; tried {self._pool.why_down()}"
        return ApiError(ErrorKind.ENGINE_UNAVAILABLE, message, retry_after=self._down_retry_after)

    def _waited_too_long(self, request: Waiting) -> ApiError:
        message = f"no slot within {request.cls.queue_timeout:g} s, the limit of class {request.cls.name}"
        return ApiError(self._timed_out, message, retry_after=self.predicted_wait(request))


def undecided(request: Waiting) -> asyncio.Future[Permit] | None:
    """None if the request was cancelled a moment ago and has not left the queue yet."""
    return request.granted if request.granted is not None and not request.granted.done() else None
