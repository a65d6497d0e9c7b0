"""Requests that wait for room at an engine: one bounded queue per model, first come first served.

Late binding: a request gets its engine when one has room, not when it arrives. So no engine idles while a request for
its model waits, and a slow engine holds up nothing but its own requests. A request that returns after a failed attempt
keeps its age: it goes to the front, even of a full queue.

A full queue answers 429. Its Retry-After is the time in which the queue drains, by Little's law:

    retry after = (waiting + 1) / rate        rate = slots of the engines that are up / seconds that a slot is held
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable

from llm_contract.errors import ApiError, ErrorKind
from llm_proxy.upstream.service_rate import ServiceRate
from llm_router.edge.proxy.job import Job
from llm_router.fleet import Engine, Fleet, FleetListener, Slot
from llm_router.fleet.fleet import Cause
from llm_router.policies import Policy, make_policy
from llm_router.settings import ModelSettings

MAX_RETRY_AFTER = 60.0


class ModelQueue:
    """The queue of one model, with the policy that chooses among its engines."""

    def __init__(self, settings: ModelSettings, slots: Callable[[], float]) -> None:
        self.settings = settings
        self.policy: Policy = make_policy(settings.policy)
        self.waiting: OrderedDict[Job, asyncio.Future[Slot]] = OrderedDict()
        self.rate = ServiceRate(slots)

    def update(self, settings: ModelSettings) -> None:
        if settings.policy != self.settings.policy:
            self.policy = make_policy(settings.policy)
        self.settings = settings

    def retry_after(self) -> float:
        """Return the predicted seconds until a request at the end of the queue has a slot, from 1 to 60."""
        rate = self.rate.per_second()
        return min(MAX_RETRY_AFTER, max(1.0, (len(self.waiting) + 1) / rate)) if rate else MAX_RETRY_AFTER


class Queues(FleetListener):
    """The queues of all models. `clock` is the fleet's: monotonic, in seconds.

    A request waits at most `patience` seconds, and at most `stranded_after` seconds while no engine is up, which
    is None if an engine can be started. The queues call `on_wait` when the first request of a model waits.
    """

    def __init__(
        self,
        fleet: Fleet,
        *,
        clock: Callable[[], float],
        patience: float,
        stranded_after: float | None,
        on_wait: Callable[[str], None],
    ) -> None:
        self._fleet = fleet
        self._clock = clock
        self._patience = patience
        self._stranded_after = stranded_after
        self._on_wait = on_wait
        self._stranded: dict[str, asyncio.TimerHandle] = {}
        """The timer of each model that has no engine that is up."""
        self._queues: dict[str, ModelQueue] = {}
        for model in fleet.models:
            self.room(model)
        fleet.subscribe(self)

    def of(self, model: str) -> ModelQueue | None:
        return self._queues.get(model)

    def depth(self) -> dict[str, int]:
        """Return the number of waiting requests of each model."""
        return {model: len(queue.waiting) for model, queue in self._queues.items()}

    async def acquire(self, job: Job) -> Slot:
        """Return a slot at the engine that the model's policy chooses, after waiting for room if there is none.

        Raise ApiError: QUEUE_FULL; QUEUE_TIMEOUT or ENGINE_UNAVAILABLE if no engine had room in time; MODEL_NOT_FOUND
        if the model is removed. If the call is cancelled, the request leaves the queue, and a slot that was granted at
        the same moment is given back.
        """
        queue = self._queues.get(job.model.name)
        if queue is None:
            raise ApiError(ErrorKind.MODEL_NOT_FOUND, f"The model `{job.model.name}` was removed.", param="model")
        if not queue.waiting and (slot := self._slot(queue, job)) is not None:
            return slot
        return await self._wait(queue, job)

    async def _wait(self, queue: ModelQueue, job: Job) -> Slot:
        model = job.model.name
        if not job.attempts and len(queue.waiting) >= queue.settings.queue:
            after = queue.retry_after()
            message = f"{len(queue.waiting)} requests for {model} wait; retry in about {after:.0f} s"
            raise ApiError(ErrorKind.QUEUE_FULL, message, retry_after=after)
        granted: asyncio.Future[Slot] = asyncio.get_running_loop().create_future()
        queue.waiting[job] = granted
        if job.attempts:
            queue.waiting.move_to_end(job, last=False)
        self._pump(queue)
        if not granted.done():
            self._check_stranded(model)
            if len(queue.waiting) == 1:
                self._on_wait(model)
        try:
            async with asyncio.timeout(self._patience):
                return await granted
        except BaseException as error:
            if granted.done() and not granted.cancelled() and granted.exception() is None:
                granted.result().release()
            if not isinstance(error, TimeoutError):
                raise
            message = f"no engine of {model} had room within {self._patience:g} s"
            raise ApiError(ErrorKind.QUEUE_TIMEOUT, message, retry_after=queue.retry_after()) from None
        finally:
            queue.waiting.pop(job, None)

    def _slot(self, queue: ModelQueue, job: Job) -> Slot | None:
        engines = self._fleet.candidates(job.model.name, job.tried)
        if not engines:
            return None
        return self._fleet.take(queue.policy.choose(engines, job.routed), job.routed.prompt_tokens)

    def _pump(self, queue: ModelQueue) -> None:
        """Grant slots, oldest request first, until no engine has room.

        A request that an engine has failed waits for another engine's room. Requests behind it do not wait for that.
        """
        while queue.waiting:
            for job, granted in queue.waiting.items():
                slot = None if granted.done() else self._slot(queue, job)
                if slot is not None:
                    del queue.waiting[job]
                    granted.set_result(slot)
                    break
                if not granted.done() and not job.tried:
                    return
            else:
                return

    # --- events of the fleet -----------------------------------------------------------------------------------------

    def room(self, model: str) -> None:
        queue, settings = self._queues.get(model), self._fleet.models.get(model)
        if settings is None:
            self._remove(model)
        elif queue is None:
            self._queues[model] = ModelQueue(settings, lambda: self._slots(model))
        else:
            if queue.settings is not settings:
                queue.update(settings)
            if queue.waiting:
                self._pump(queue)

    def released(self, slot: Slot) -> None:
        queue = self._queues.get(slot.engine.info.model)
        if queue is not None:
            queue.rate.held(self._clock() - slot.since)

    def ejected(self, engine: Engine, cause: Cause) -> None:
        self.delisted(engine)

    def delisted(self, engine: Engine) -> None:
        queue = self._queues.get(engine.info.model)
        if queue is not None:
            queue.policy.forget(engine)
            if queue.waiting:
                self._check_stranded(engine.info.model)

    def _check_stranded(self, model: str) -> None:
        """Start the timer of a model whose requests wait although no engine is up."""
        if self._stranded_after is None or model in self._stranded or self._fleet.up(model):
            return
        loop = asyncio.get_running_loop()
        self._stranded[model] = loop.call_later(self._stranded_after, self._fail_stranded, model)

    def _fail_stranded(self, model: str) -> None:
        del self._stranded[model]
        if not self._fleet.up(model):
            why = self._fleet.why_down(self._fleet.engines(model)) or "there is none"
            message = f"no engine of {model} is up: {why}"
            self._fail(self._queues.get(model), ErrorKind.ENGINE_UNAVAILABLE, message)

    def _remove(self, model: str) -> None:
        self._fail(self._queues.pop(model, None), ErrorKind.MODEL_NOT_FOUND, f"The model `{model}` was removed.")

    @staticmethod
    def _fail(queue: ModelQueue | None, kind: ErrorKind, message: str) -> None:
        for granted in queue.waiting.values() if queue is not None else ():
            if not granted.done():
                retry_after = 1.0 if kind is ErrorKind.ENGINE_UNAVAILABLE else None
                granted.set_exception(ApiError(kind, message, retry_after=retry_after))

    def _slots(self, model: str) -> int:
        return sum(engine.max_running for engine in self._fleet.up(model))
