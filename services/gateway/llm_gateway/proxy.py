"""A generation request from its first byte to its last: admit, wait for a slot, send, pass the answer on.

Until the client has been sent a byte, a failing engine costs it nothing: the request goes to another one, with its
place in the queue kept. After that a stream is gone on with at another engine where that is sound (replay.py). A client
that hangs up cancels the handler wherever it is, which takes the request out of the queue, or closes the connection to
the engine and gives the slot back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import orjson
from aiohttp import HttpVersion11, web

from llm_contract import headers
from llm_contract.errors import ApiError, ErrorKind
from llm_gateway.admission import Admission, Job, max_tokens
from llm_gateway.attempt import Answer, Attempts, ejected
from llm_gateway.dispatch import Dispatcher
from llm_gateway.endpoints import UNDERSTOOD
from llm_gateway.engines import Engine, EnginePool, Permit
from llm_gateway.exchange import Exchange, request_id
from llm_gateway.interrupt import EJECTED, Interrupted
from llm_gateway.ledger import Ledger
from llm_gateway.metrics import ENGINE_REJECTED, OK, GatewayMetrics
from llm_gateway.relay import Relay, usage_in
from llm_gateway.replay import Splice, continuation, is_resumable
from llm_gateway.responses import error_response
from llm_gateway.retry_budget import RetryBudget
from llm_gateway.settings import GatewaySettings
from llm_gateway.tracing import ADMIT, FIRST_TOKEN, MAX_TOKENS, MODEL, NO_TRACE, QUEUE, Tracing
from llm_gateway.upstream import EngineError, Upstream

COPIED_BACK = ("content-type", headers.RETRY_AFTER)
DRAINING_RETRY_AFTER = 1.0
TOKENIZE_TIMEOUT = 5.0

Outcome = tuple[web.StreamResponse, str]
"""The response and the request's outcome, a label of gateway_requests_total."""


class Proxy:
    def __init__(
        self,
        settings: GatewaySettings,
        admission: Admission,
        dispatcher: Dispatcher,
        pool: EnginePool,
        upstream: Upstream,
        ledger: Ledger,
        tracing: Tracing,
        metrics: GatewayMetrics,
        clock: Callable[[], float],
    ) -> None:
        self._max_attempts = settings.max_attempts
        self._retry_after = settings.probe_interval
        self._replay = settings.replay
        self._admission = admission
        self._dispatcher = dispatcher
        self._pool = pool
        self._upstream = upstream
        self._attempts = Attempts(upstream, dispatcher, pool, metrics, clock)
        self._retries = RetryBudget(settings.retry_budget, clock)
        self._ledger = ledger
        self._tracing = tracing
        self._metrics = metrics
        self._clock = clock
        self._draining = False
        self._open = 0
        self._all_closed = asyncio.Event()

    @property
    def draining(self) -> bool:
        return self._draining

    async def drain(self) -> None:
        """Refuses new requests from now on; returns when every one that was let in has ended."""
        self._draining = True
        while self._open:
            self._all_closed.clear()
            await self._all_closed.wait()

    def fail_over(self, engine: Engine, reason: str) -> None:
        """The engine was ejected: its requests go on elsewhere, or end, instead of waiting for it."""
        for request in list(engine.holders):
            request.interruptible.interrupt(EJECTED)

    async def generate(self, request: web.Request) -> web.StreamResponse:
        """The handler of /v1/completions and /v1/chat/completions."""
        exchange = Exchange(
            request_id(request.headers), self._clock(), self._tracing.begin(request.headers, request.path)
        )
        outcome, status = ErrorKind.INTERNAL.label, ErrorKind.INTERNAL.status
        self._open += 1
        try:
            response, outcome = await self._serve(request, exchange)
            status = response.status
        except ApiError as error:
            outcome, status = error.kind.label, error.kind.status
            return error_response(error, exchange.response_headers())
        except (asyncio.CancelledError, ConnectionError):
            outcome, status = ErrorKind.CLIENT_CLOSED.label, ErrorKind.CLIENT_CLOSED.status
            raise
        finally:
            self._ledger.close(exchange, outcome, status)
            self._open -= 1
            if not self._open:
                self._all_closed.set()
        return response

    async def _serve(self, request: web.Request, exchange: Exchange) -> Outcome:
        if self._draining:
            raise ApiError(ErrorKind.DRAINING, "the gateway is shutting down", retry_after=DRAINING_RETRY_AFTER)
        with exchange.trace.span(ADMIT):
            job = await self._admission.admit(request, exchange)
        if exchange.trace is not NO_TRACE:
            _describe(job)
        self._retries.request()
        failures: list[EngineError] = []
        while True:
            permit = await self._slot(job)
            try:
                answer = await self._attempts.open(job, permit)
            except Interrupted:
                exchange.preempted += 1
                self._metrics.reattempted(exchange.class_name, "preempted")
                continue
            except EngineError as error:
                self._note(job, error)
                failures.append(error)
                if not self._may_retry(failures):
                    raise self._gave_up(failures) from None
                self._metrics.reattempted(exchange.class_name, "retry")
                continue
            exchange.answered_by(answer.engine)
            if answer.streamed:
                return await self._stream(request, job, answer)
            return self._whole(job, answer)

    async def _slot(self, job: Job) -> Permit:
        exchange, begun = job.exchange, self._clock()
        with exchange.trace.span(QUEUE):
            permit = await self._dispatcher.acquire(job.waiting)
        before = exchange.queue_wait
        exchange.queue_wait = (before or 0.0) + self._clock() - begun
        if before is None:
            self._metrics.waited(exchange.class_name, exchange.queue_wait)
        return permit

    def _may_retry(self, failures: list[EngineError]) -> bool:
        return failures[-1].retryable and len(failures) < self._max_attempts and self._retries.retry()

    def _whole(self, job: Job, answer: Answer) -> Outcome:
        with answer:
            exchange, source = job.exchange, answer.source
            self._first_byte(exchange)
            response = web.Response(body=answer.first, status=source.status, headers=_answer_headers(exchange, answer))
            if source.status >= 400:
                return response, ENGINE_REJECTED if source.status < 500 else ErrorKind.ENGINE_FAILED.label
            if usage := usage_in(answer.first):
                exchange.prompt_tokens, exchange.output_tokens = usage
            return response, OK

    async def _stream(self, request: web.Request, job: Job, answer: Answer) -> Outcome:
        exchange = job.exchange
        client = web.StreamResponse(status=answer.source.status, headers=_answer_headers(exchange, answer))
        client.headers["cache-control"] = "no-cache"
        if request.version >= HttpVersion11:
            client.enable_chunked_encoding()
        keep = self._replay and is_resumable(job.path, job.body)
        done = job.path in UNDERSTOOD
        relay = Relay(client, request.transport, self._upstream, self._clock, keep, ends_with_done=done)
        try:
            with answer:
                await client.prepare(request)
                self._first_byte(exchange)
                failure = await self._run(job, relay, answer)
            while failure is not None and await self._goes_on(job, relay, failure):
                failure = await self._resume(job, relay, failure)
            await relay.finish(failure)
        finally:
            usage = relay.usage()
            exchange.prompt_tokens, exchange.output_tokens = usage or (0, relay.events)
        return client, OK if failure is None else failure.kind.label

    async def _run(self, job: Job, relay: Relay, answer: Answer, splice: Splice | None = None) -> EngineError | None:
        try:
            with job.waiting.interruptible:
                failure = await relay.run(answer, splice)
        except Interrupted:
            failure = ejected(answer.engine)
        if failure is not None:
            self._pool.failed(answer.engine)
            self._note(job, failure)
        return failure

    async def _goes_on(self, job: Job, relay: Relay, failure: EngineError) -> bool:
        """Whether the rest of a broken stream may come from another engine."""
        if relay.transcript is None or not failure.retryable or job.exchange.attempts >= self._max_attempts:
            return False
        return self._retries.retry()

    async def _resume(self, job: Job, relay: Relay, failure: EngineError) -> EngineError | None:
        """Returns None if the stream is complete now, else what it is left with."""
        assert relay.transcript is not None
        progress = relay.transcript.progress()
        if progress is None:
            failure.retryable = False
            return failure
        if progress.finished:
            await relay.complete()
            return None
        try:
            tokens = await self._count(job, progress.text) or relay.events
            permit = await self._slot(job)
            self._metrics.reattempted(job.exchange.class_name, "resume")
            asked = orjson.dumps(continuation(job.path, job.body, progress.text, tokens))
            answer = await self._attempts.open(job, permit, asked)
        except (ApiError, EngineError, Interrupted):
            return failure
        with answer:
            if not answer.streamed:
                failure.retryable = False
                return failure
            return await self._run(job, relay, answer, Splice(progress, tokens))

    async def _count(self, job: Job, text: str) -> int:
        """Tokens of `text` as an engine has them; 0 if none says."""
        engine = self._pool.choose(job.waiting.tried)
        if engine is None:
            return 0
        asked = orjson.dumps({"model": job.body.get("model"), "prompt": text, "add_special_tokens": False})
        try:
            status, answer = await self._upstream.fetch(engine, "POST", "/tokenize", TOKENIZE_TIMEOUT, asked)
            return int(orjson.loads(answer)["count"]) if status == 200 else 0
        except (EngineError, ValueError, LookupError, TypeError):
            return 0

    def _first_byte(self, exchange: Exchange) -> None:
        exchange.ttft = self._clock() - exchange.arrived
        self._metrics.first_byte_after(exchange.class_name, exchange.ttft)
        exchange.trace.event(FIRST_TOKEN)

    def _note(self, job: Job, error: EngineError) -> None:
        job.waiting.tried.append(error.engine)
        self._metrics.engine_failed(error.engine.name, error.phase)
        if error.phase == "connect":
            self._pool.mark_down(error.engine, error.reason)

    def _gave_up(self, failures: list[EngineError]) -> ApiError:
        message = f"no engine could answer; tried {'; '.join(map(str, failures))}"
        return ApiError(failures[-1].kind, message, retry_after=self._retry_after)


def _describe(job: Job) -> None:
    model = job.body.get("model")
    job.exchange.trace.set(MODEL, model if isinstance(model, str) else None)
    job.exchange.trace.set(MAX_TOKENS, max_tokens(job.body))


def _answer_headers(exchange: Exchange, answer: Answer) -> dict[str, str]:
    copied = {name: answer.source.headers[name] for name in COPIED_BACK if name in answer.source.headers}
    return {**copied, **exchange.response_headers()}
