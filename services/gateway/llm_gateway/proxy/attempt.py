"""One attempt at an engine, up to the first byte of its answer. Until then another engine can take the request.

An answer that is an error (upstream/refusal.py) is raised like a broken connection, even as the first event of a
stream. A request that is refused because of the usage option that the gateway adds is sent again without it.

Hedging: if a stream has no first byte after its class's `hedge_after`, a second engine gets the request as well,
provided that it has a slot that no request waits for. The first answer wins. The other connection is closed, which
makes its engine abort the request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from llm_gateway.engines import Engine, EnginePool, Permit
from llm_gateway.metrics import GatewayMetrics
from llm_gateway.request.admission import Job
from llm_gateway.scheduling.dispatch import Dispatcher
from llm_gateway.telemetry.spans import ENGINE, QUEUE, UPSTREAM
from llm_proxy.request import body as request_body
from llm_proxy.request.endpoints import UNDERSTOOD
from llm_proxy.stream.answer import EVENT_STREAM, Answer, first_bytes
from llm_proxy.stream.filter import StreamFilter
from llm_proxy.stream.resume import Continuation
from llm_proxy.telemetry.tracing import NO_SPAN, Span
from llm_proxy.upstream.breaker import BreakerState
from llm_proxy.upstream.client import EngineError, Upstream, ejected
from llm_proxy.upstream.interrupt import EJECTED, Interrupted
from llm_proxy.upstream.refusal import OVERLOADED, Refusal, refusal
from llm_proxy.upstream.retry_budget import RetryBudget

USAGE_REFUSED = (400, 422)

Failure = EngineError[Engine]
"""A failed exchange with one of the gateway's engines."""


class Attempts:
    """Sends requests to engines, each at most `max_attempts` times. `retries` bounds the retries of all requests."""

    def __init__(
        self,
        upstream: Upstream,
        dispatcher: Dispatcher,
        pool: EnginePool,
        metrics: GatewayMetrics,
        *,
        clock: Callable[[], float],
        max_attempts: int,
        retries: RetryBudget,
    ) -> None:
        self._max_attempts = max_attempts
        self._retries = retries
        self._upstream = upstream
        self._dispatcher = dispatcher
        self._pool = pool
        self._metrics = metrics
        self._clock = clock

    async def begin(self, job: Job, rest: Continuation | None = None) -> Answer[Engine]:
        """Wait for a slot, send the request (or its `rest`), and return the answer once it has begun.

        Raise EngineError, after noting the engine as tried; ApiError if there is no slot; Interrupted if the request
        was preempted.
        """
        permit = await self._slot(job)
        try:
            return await self._open_interruptibly(job, permit, rest)
        except EngineError as error:
            self._note(job, error)
            raise

    def succeeded(self, job: Job, engine: Engine) -> None:
        """Record the success of a stream at its end. Only a breaker that is not closed takes the first byte as one."""
        self._pool.answered(engine, 200)

    def failed(self, job: Job, failure: Failure) -> None:
        """Record the failure of an answer that had begun."""
        self._blame(job, failure)
        self._note(job, failure)

    def another(self, job: Job, failure: Failure) -> bool:
        """Return whether the request can be sent again, and count the retry if so.

        After a refusal another engine must be left: the same one would refuse again.
        """
        if not failure.retryable or job.exchange.attempts >= self._max_attempts:
            return False
        if isinstance(failure, Refusal) and not self._pool.another(job.waiting.model, job.waiting.tried):
            return False
        return self._retries.retry()

    def tokenizers(self, job: Job) -> Sequence[Engine]:
        """Return the engines that can count the tokens of the job's answer, those that failed it last."""
        return self._pool.able(job.waiting.tried, job.waiting.model)

    def resuming(self, job: Job) -> Span:
        """Return a span that records nothing: the next engine's own spans show the resumption."""
        return NO_SPAN

    def resumed(self, job: Job, span: Span, tokens: int) -> None:
        """Count a resumption."""
        self._metrics.reattempted(job.exchange.class_name, "resume")

    async def _slot(self, job: Job) -> Permit:
        exchange, begun = job.exchange, self._clock()
        with exchange.trace.span(QUEUE):
            permit = await self._dispatcher.acquire(job.waiting)
        before = exchange.queue_wait
        exchange.queue_wait = (before or 0.0) + self._clock() - begun
        if before is None:
            self._metrics.waited(exchange.class_name, exchange.queue_wait)
        return permit

    def _note(self, job: Job, error: Failure) -> None:
        job.waiting.tried.append(error.engine.name)
        self._metrics.engine_failed(error.engine.name, error.phase)
        if error.refused:
            self._pool.mark_down(error.engine, error.reason)

    async def _open_interruptibly(self, job: Job, permit: Permit, rest: Continuation | None) -> Answer[Engine]:
        request = job.waiting
        try:
            with request.interruptible:
                answer = await self._open_hedged(job, permit, rest)
        except Interrupted as interrupted:
            if interrupted.reason != EJECTED:
                raise
            raise ejected(permit.engine) from None
        finally:
            self._dispatcher.preemption.answered(request)
        if answer.events is None or answer.engine.breaker.state is not BreakerState.CLOSED:
            self._pool.answered(answer.engine, answer.source.status)
        return answer

    async def _open_hedged(self, job: Job, permit: Permit, rest: Continuation | None) -> Answer[Engine]:
        hedge_after = job.waiting.cls.hedge_after
        if hedge_after is None or not job.exchange.streamed:
            return await self._open(job, permit, rest)
        first = asyncio.create_task(self._open(job, permit, rest))
        tasks = {first}
        try:
            await asyncio.wait(tasks, timeout=hedge_after)
            if not first.done() and (spare := self._spare(job, permit)):
                self._metrics.reattempted(job.exchange.class_name, "hedge")
                tasks.add(asyncio.create_task(self._open(job, spare, rest)))
            return await _first_answer(tasks)
        except BaseException:
            await _close_all(tasks)
            raise

    def _spare(self, job: Job, permit: Permit) -> Permit | None:
        """Return a slot at another engine than that of `permit`, None if there is none."""
        request = job.waiting
        request.tried.append(permit.engine.name)
        spare = self._dispatcher.spare(request)
        request.tried.remove(permit.engine.name)
        if spare is not None and spare.engine is permit.engine:
            spare.release()
            return None
        return spare

    async def _open(self, job: Job, permit: Permit, rest: Continuation | None) -> Answer[Engine]:
        job.exchange.attempts += 1
        begun = self._clock()
        span = job.exchange.trace.span(UPSTREAM).__enter__()
        span.set(ENGINE, permit.engine.name)
        try:
            return await self._exchange(job, permit, span, rest)
        except BaseException as error:
            permit.release()
            span.__exit__(type(error), error, None)
            # An engine that answers others meanwhile is too busy to accept, and not gone.
            if isinstance(error, EngineError) and not (error.late and permit.engine.last_progress > begun):
                self._blame(job, error)
            raise

    def _blame(self, job: Job, error: Failure) -> None:
        """Record the failure against the engine. Overload and a client's mistake are no faults of the engine."""
        if not isinstance(error, Refusal):
            self._pool.failed(error.engine)
        elif error.status in OVERLOADED:
            self._pool.overloaded(error.engine, error.rest, job.waiting.model)
        elif not error.client_fault:
            self._pool.failed(error.engine)

    async def _exchange(self, job: Job, permit: Permit, span: Span, rest: Continuation | None) -> Answer[Engine]:
        engine = permit.engine
        headers = job.exchange.engine_headers(job.headers, engine)
        span.inject(headers)
        raw, body = (job.raw, job.body) if rest is None else (None, rest.body)
        asks = engine.reports_usage and job.path in UNDERSTOOD and request_body.can_ask_for_usage(body)
        sent = request_body.for_engine(raw, body, _priority(job, engine), ask_usage=asks)
        source = await self._upstream.send(engine, "POST", job.path, headers, body=sent)
        try:
            if source.content_type == EVENT_STREAM and source.status < 300:
                rewrite = None if rest is None else rest.rewrite
                done = job.path in UNDERSTOOD
                events = StreamFilter(drops_usage=asks, rewrite=rewrite, ends_with_done=done)
                return Answer(
                    permit,
                    source,
                    span,
                    await first_bytes(self._upstream, permit, source, events, clock=self._clock),
                    events,
                )
            whole = await self._upstream.read(engine, source)
        except BaseException:
            source.close()
            raise
        if asks and source.status in USAGE_REFUSED and (b"stream_options" in whole or b"include_usage" in whole):
            engine.reports_usage = False
            return await self._exchange(job, permit, span, rest)
        refused = refusal(engine, source, whole)
        if refused is not None and refused.retryable:
            raise refused
        return Answer(permit, source, span, whole, refused=refused is not None)


def _priority(job: Job, engine: Engine) -> int | None:
    """Return the priority for the engine, None if the engine or the endpoint does not take one."""
    return job.waiting.cls.priority if engine.takes_priority and job.path in UNDERSTOOD else None


async def _first_answer(tasks: set[asyncio.Task[Answer[Engine]]]) -> Answer[Engine]:
    """Return the answer of the first task that succeeds and close the others. If all fail, raise the last error."""
    pending = set(tasks)
    while True:
        done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            if task.exception() is None:
                await _close_all(tasks - {task})
                return task.result()
        if not pending:
            return done.pop().result()


async def _close_all(tasks: set[asyncio.Task[Answer[Engine]]]) -> None:
    for task in tasks:
        task.cancel()
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(result, Answer):
            result.__exit__(None, None, None)
