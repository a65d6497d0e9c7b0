"""One try at an engine, up to the first byte of its answer: until then another engine can take the client's request.

Hedging: a stream without a first byte after its class's `hedge_after` is asked of a second engine, too, if a slot is
free that nobody waits for. Who answers first has the client; the other is closed, which aborts it at its engine.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from llm_contract.errors import ErrorKind
from llm_gateway import body as request_body
from llm_gateway.admission import Job
from llm_gateway.dispatch import Dispatcher
from llm_gateway.endpoints import UNDERSTOOD
from llm_gateway.engines import Engine, EnginePool, Permit
from llm_gateway.interrupt import EJECTED, Interrupted
from llm_gateway.metrics import GatewayMetrics
from llm_gateway.tracing import ENGINE, UPSTREAM, Span
from llm_gateway.upstream import EngineError, Upstream
from llm_gateway.upstream_http import Response

EVENT_STREAM = "text/event-stream"


@dataclass(slots=True, eq=False)
class Answer:
    """An engine's answer whose first bytes are here; closed exactly once, at the latest when the `with` block ends."""

    permit: Permit
    source: Response
    span: Span
    streamed: bool
    first: bytes
    """The first chunk of a stream, or the whole body."""

    @property
    def engine(self) -> Engine:
        return self.permit.engine

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.source.close()
        self.permit.release()
        self.span.__exit__(kind, error, trace)


class Attempts:
    def __init__(
        self,
        upstream: Upstream,
        dispatcher: Dispatcher,
        pool: EnginePool,
        metrics: GatewayMetrics,
        clock: Callable[[], float],
    ) -> None:
        self._upstream = upstream
        self._dispatcher = dispatcher
        self._pool = pool
        self._metrics = metrics
        self._clock = clock

    async def open(self, job: Job, permit: Permit, raw: bytes | None = None) -> Answer:
        """Sends the request, or `raw` in its place, with a slot that is given back unless an answer is returned.

        Raises EngineError, having told the pool of it; Interrupted if the request was preempted.
        """
        request = job.waiting
        try:
            with request.interruptible:
                answer = await self._open_hedged(job, permit, raw)
        except Interrupted as interrupted:
            if interrupted.reason != EJECTED:
                raise
            raise ejected(permit.engine) from None
        finally:
            self._dispatcher.preemption.answered(request)
        self._pool.answered(answer.engine, answer.source.status)
        return answer

    async def _open_hedged(self, job: Job, permit: Permit, raw: bytes | None) -> Answer:
        hedge_after = job.waiting.cls.hedge_after
        if hedge_after is None or not job.exchange.streamed:
            return await self._open(job, permit, raw)
        first = asyncio.create_task(self._open(job, permit, raw))
        tasks = {first}
        try:
            await asyncio.wait(tasks, timeout=hedge_after)
            if not first.done() and (spare := self._spare(job, permit)):
                self._metrics.reattempted(job.exchange.class_name, "hedge")
                tasks.add(asyncio.create_task(self._open(job, spare, raw)))
            return await _first_answer(tasks)
        except BaseException:
            await _close_all(tasks)
            raise

    def _spare(self, job: Job, permit: Permit) -> Permit | None:
        """A slot at another engine than the first one's."""
        request = job.waiting
        request.tried.append(permit.engine)
        spare = self._dispatcher.spare(request)
        request.tried.remove(permit.engine)
        if spare is not None and spare.engine is permit.engine:
            spare.release()
            return None
        return spare

    async def _open(self, job: Job, permit: Permit, raw: bytes | None) -> Answer:
        span = job.exchange.trace.span(UPSTREAM).__enter__()
        try:
            return await self._exchange(job, permit, span, raw)
        except BaseException as error:
            permit.release()
            span.__exit__(type(error), error, None)
            if isinstance(error, EngineError):
                self._pool.failed(permit.engine)
            raise

    async def _exchange(self, job: Job, permit: Permit, span: Span, raw: bytes | None) -> Answer:
        engine, exchange = permit.engine, job.exchange
        exchange.attempts += 1
        span.set(ENGINE, engine.name)
        headers = exchange.engine_headers(job.headers, engine)
        span.inject(headers)
        sent = raw or request_body.for_engine(job.raw, job.body, _priority(job, engine))
        source = await self._upstream.send(engine, "POST", job.path, headers, sent)
        try:
            if source.content_type == EVENT_STREAM:
                permit.started_stream()
                first = await self._upstream.read_some(engine, source)
                engine.progressed(self._clock())
                return Answer(permit, source, span, True, first)
            return Answer(permit, source, span, False, await self._upstream.read(engine, source))
        except BaseException:
            source.close()
            raise


def ejected(engine: Engine) -> EngineError:
    return EngineError(engine, "body", ErrorKind.ENGINE_FAILED, engine.reason, retryable=True)


def _priority(job: Job, engine: Engine) -> int | None:
    """Other endpoints than the two that are understood are not known to have the field."""
    return job.waiting.cls.priority if engine.takes_priority and job.path in UNDERSTOOD else None


async def _first_answer(tasks: set[asyncio.Task[Answer]]) -> Answer:
    """Of the first task that succeeds; the others are closed. Raises what the last one raised if none does."""
    pending = set(tasks)
    while True:
        done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            if task.exception() is None:
                await _close_all(tasks - {task})
                return task.result()
        if not pending:
            return done.pop().result()


async def _close_all(tasks: set[asyncio.Task[Answer]]) -> None:
    for task in tasks:
        task.cancel()
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(result, Answer):
            result.__exit__(None, None, None)
