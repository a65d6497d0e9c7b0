"""One attempt at an engine, up to the first byte of its answer. Until then another engine can take the request.

An answer that is an error (llm_proxy.upstream.refusal) is raised like a broken connection, even as the first event of a
stream. The connection tells most about an engine: refused or reset, it is ejected at once; a 5xx counts for its circuit
breaker; a 4xx says nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import orjson

from llm_proxy.request.endpoints import UNDERSTOOD
from llm_proxy.stream.answer import EVENT_STREAM, Answer, first_bytes
from llm_proxy.stream.filter import StreamFilter
from llm_proxy.stream.resume import Continuation
from llm_proxy.telemetry.tracing import NO_TRACE, Span
from llm_proxy.upstream.client import EngineError, Upstream, ejected
from llm_proxy.upstream.connection import Disconnected
from llm_proxy.upstream.interrupt import Interrupted
from llm_proxy.upstream.refusal import OVERLOADED, Refusal, refusal
from llm_proxy.upstream.retry_budget import RetryBudget
from llm_router.edge.proxy.job import Job
from llm_router.edge.proxy.queue import Queues
from llm_router.edge.proxy.spans import ENGINE, PICK, REPLAY, TOKENS, UPSTREAM
from llm_router.fleet import Engine, Fleet, Slot
from llm_router.metrics import RouterMetrics


class Attempts:
    """Sends requests to engines, each at most `max_attempts` times. `retries` bounds the retries of all requests."""

    def __init__(
        self,
        upstream: Upstream,
        queues: Queues,
        fleet: Fleet,
        metrics: RouterMetrics,
        *,
        clock: Callable[[], float],
        max_attempts: int,
        retries: RetryBudget,
    ) -> None:
        self._upstream = upstream
        self._queues = queues
        self._fleet = fleet
        self._metrics = metrics
        self._clock = clock
        self._max_attempts = max_attempts
        self._retries = retries

    async def begin(self, job: Job, rest: Continuation | None = None) -> Answer[Engine]:
        """Wait for a slot, send the request (or its `rest`), and return the answer once it has begun.

        Raise EngineError, after noting the engine as tried; ApiError if there is no slot.
        """
        slot = await self._slot(job)
        job.attempts += 1
        span = job.trace.span(UPSTREAM).__enter__()
        span.set(ENGINE, slot.engine.shown)
        try:
            with slot.interruptible:
                answer = await self._exchange(job, slot, span, rest)
        except BaseException as error:
            failure = ejected(slot.engine) if isinstance(error, Interrupted) else error
            if isinstance(failure, EngineError):
                self.failed(job, failure)  # while it is held: a dead engine gets no next request
            slot.release()
            span.__exit__(type(error), error, None)
            if failure is not error:
                raise failure from None
            raise
        if answer.events is None:
            self.succeeded(job, answer.engine)
        return answer

    def succeeded(self, job: Job, engine: Engine) -> None:
        """Record an exchange that has ended well."""
        self._fleet.succeeded(engine)
        self._metrics.attempted(engine, job.model.policy, "ok")

    def failed(self, job: Job, error: EngineError[Engine]) -> None:
        """Record a failed exchange, eject the engine if its connection was refused or reset, and note it as tried."""
        engine = error.engine
        job.tried.append(engine.info.id)
        self._metrics.attempted(engine, job.model.policy, error.phase)
        if error.refused:
            self._fleet.eject(engine, "connect", error.reason)
        elif isinstance(error.__cause__, Disconnected):
            self._fleet.eject(engine, "reset", error.reason)
        if error.late:
            return  # it can be too busy to accept; its probes find out
        if isinstance(error, Refusal) and error.status in OVERLOADED:
            self._fleet.overloaded(engine)
        elif not isinstance(error, Refusal) or not error.client_fault:
            self._fleet.failed(engine)

    def another(self, job: Job, failure: EngineError[Engine]) -> bool:
        """Return whether the request can be sent again, and count the retry if so.

        After a refusal another engine must be left: the same one would refuse again.
        """
        if not failure.retryable or job.attempts >= self._max_attempts:
            return False
        if isinstance(failure, Refusal) and not self._fleet.up(job.model.name, job.tried):
            return False
        return self._retries.retry()

    def tokenizers(self, job: Job) -> Sequence[Engine]:
        """Return the engines that can count the tokens of the job's answer, those that failed it last."""
        return sorted(self._fleet.up(job.model.name), key=lambda engine: engine.info.id in job.tried)

    def resuming(self, job: Job) -> Span:
        """Return the span from a stream's failure to the next engine's first byte."""
        return job.trace.span(REPLAY)

    def resumed(self, job: Job, span: Span, tokens: int) -> None:
        """Count a replay."""
        span.set(TOKENS, tokens)
        self._metrics.reattempted(job.model.name, "replay")

    async def _slot(self, job: Job) -> Slot:
        begun = self._clock()
        if job.trace is NO_TRACE:
            slot = await self._queues.acquire(job)
        else:
            with job.trace.span(PICK) as span:
                slot = await self._queues.acquire(job)
                span.set(ENGINE, slot.engine.shown)
        before = job.queue_wait
        job.queue_wait = (before or 0.0) + self._clock() - begun
        if before is None:
            self._metrics.waited(job.model.name, job.queue_wait)
        return slot

    async def _exchange(self, job: Job, slot: Slot, span: Span, rest: Continuation | None) -> Answer[Engine]:
        engine, headers = slot.engine, job.engine_headers()
        span.inject(headers)
        sent = job.raw if rest is None else orjson.dumps(rest.body)
        source = await self._upstream.send(engine, "POST", job.path, headers, body=sent)
        try:
            if source.content_type == EVENT_STREAM and source.status < 300:
                rewrite = None if rest is None else rest.rewrite
                events = StreamFilter(rewrite=rewrite, ends_with_done=job.path in UNDERSTOOD)
                return Answer(
                    slot,
                    source,
                    span,
                    await first_bytes(self._upstream, slot, source, events, clock=self._clock),
                    events,
                )
            whole = await self._upstream.read(engine, source)
        except BaseException:
            source.close()
            raise
        refused = refusal(engine, source, whole)
        if refused is not None and refused.retryable:
            raise refused
        return Answer(slot, source, span, whole, refused=refused is not None)
