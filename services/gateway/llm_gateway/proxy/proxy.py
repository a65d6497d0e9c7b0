"""A queued request from its first byte to its last: admit it, wait for a slot, send it, pass the answer on.

Until the client has received a byte, a failing engine costs it nothing: the request goes to another engine and keeps
its place in the queue. After that a stream continues at another engine where that is sound (llm_proxy.stream). A client
that hangs up cancels the handler at any point. This takes the request out of the queue, or closes the connection to the
engine and gives the slot back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from aiohttp import web

from llm_contract import headers, logs
from llm_contract.errors import ApiError, ErrorKind
from llm_gateway.engines import Engine, EnginePool
from llm_gateway.metrics import GatewayMetrics
from llm_gateway.proxy.attempt import Attempts, Failure
from llm_gateway.proxy.ledger import Ledger
from llm_gateway.request.admission import Admission, Job, max_tokens
from llm_gateway.request.exchange import Exchange
from llm_gateway.scheduling.dispatch import Dispatcher
from llm_gateway.settings import GatewaySettings
from llm_gateway.telemetry.spans import ADMIT
from llm_proxy.edge.responses import WholeResponse, error_response
from llm_proxy.outcomes import ENGINE_REJECTED, OK
from llm_proxy.request.identity import request_id
from llm_proxy.stream.answer import Answer
from llm_proxy.stream.streaming import Outcome, Streaming
from llm_proxy.stream.token_counts import stated_in
from llm_proxy.telemetry.tracing import FIRST_TOKEN, MAX_TOKENS, MODEL, Tracing
from llm_proxy.upstream.client import EngineError, Upstream
from llm_proxy.upstream.connection import Response
from llm_proxy.upstream.interrupt import EJECTED, Interrupted
from llm_proxy.upstream.refusal import TOO_MANY_REQUESTS, Refusal
from llm_proxy.upstream.retry_budget import RetryBudget

COPIED_BACK = ("content-type", headers.RETRY_AFTER)
DRAINING_RETRY_AFTER = 1.0


class Proxy:
    """The handler of all requests that go through the queue. `clock` is monotonic, in seconds."""

    def __init__(
        self,
        settings: GatewaySettings,
        admission: Admission,
        dispatcher: Dispatcher,
        *,
        pool: EnginePool,
        upstream: Upstream,
        ledger: Ledger,
        tracing: Tracing,
        metrics: GatewayMetrics,
        clock: Callable[[], float],
    ) -> None:
        self._retry_after = settings.probe_interval
        self._admission = admission
        self._retries = RetryBudget(settings.retry_budget, clock)
        self._attempts = Attempts(
            upstream, dispatcher, pool, metrics, clock=clock, max_attempts=settings.max_attempts, retries=self._retries
        )
        self._streaming = Streaming(self._attempts, upstream, clock=clock)
        self._may_resume = settings.resume
        self._access_log = settings.access_log
        self._ledger = ledger
        self._tracing = tracing
        self._metrics = metrics
        self._clock = clock
        self._draining = False
        self.lame_duck = False
        """Requests are served, and every answer closes its connection, so that clients go elsewhere with the next."""
        self._open = 0
        self._last_ended = clock()
        self._all_closed = asyncio.Event()

    @property
    def draining(self) -> bool:
        return self._draining

    async def drain(self) -> None:
        """Refuse new requests from now on. Return when every admitted request has ended."""
        self._draining = True
        while self._open:
            self._all_closed.clear()
            await self._all_closed.wait()

    async def quiet(self, seconds: float) -> None:
        """Return when no request has been open for that long.

        A stream that began before the drain leaves its connection open, as its headers are sent. So its client has this
        time for a next request, whose answer closes the connection.
        """
        left = seconds
        while left > 0:
            await asyncio.sleep(left)
            left = seconds if self._open else seconds - (self._clock() - self._last_ended)

    @staticmethod
    def fail_over(engine: Engine) -> None:
        """Interrupt the requests of an ejected engine: they move to another engine or end with an error."""
        for request in list(engine.holders):
            request.interruptible.interrupt(EJECTED)

    async def generate(self, request: web.Request) -> web.StreamResponse:
        """Handle a request to one of the queued endpoints."""
        exchange = Exchange(
            request_id=request_id(request.headers),
            arrived=self._clock(),
            trace=self._tracing.begin(request.headers, request.path),
        )
        logs.concern(exchange.request_id, exchange.trace.trace_id or headers.trace_id(request.headers))
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
            if exchange.attempts and not exchange.prompt_tokens:
                exchange.count(None, 0)  # an engine received the prompt
            raise
        finally:
            self._open -= 1
            self._last_ended = self._clock()
            if not self._open:
                self._all_closed.set()
            self._ledger.close(exchange, outcome, status)
            seconds = self._clock() - exchange.arrived
            logs.request_ended(
                self._access_log, f"POST {request.path}", status=status, outcome=outcome, seconds=seconds
            )
        return response

    async def _serve(self, request: web.Request, exchange: Exchange) -> Outcome:
        if self._draining:
            raise ApiError(ErrorKind.DRAINING, "the gateway is shutting down", retry_after=DRAINING_RETRY_AFTER)
        with exchange.trace.span(ADMIT):
            job = await self._admission.admit(request, exchange)
        if exchange.trace.is_recording:
            _describe(job)
        self._retries.request()
        failures: list[Failure] = []
        while True:
            try:
                answer = await self._attempts.begin(job)
            except Interrupted:
                exchange.preempted += 1
                self._metrics.reattempted(exchange.class_name, "preempted")
                continue
            except EngineError as error:
                failures.append(error)
                if not self._attempts.another(job, error):
                    return self._gave_up(job, failures)
                self._metrics.reattempted(exchange.class_name, "retry")
                continue
            except ApiError:
                if not any(isinstance(failure, Refusal) for failure in failures):
                    raise
                return self._gave_up(job, failures)
            exchange.answered_by(answer.engine)
            self._first_byte(exchange)
            return await self._answer(request, job, answer)

    async def _answer(self, request: web.Request, job: Job, answer: Answer[Engine]) -> Outcome:
        exchange, status = job.exchange, answer.source.status
        headers = _answer_headers(exchange, answer.source)
        if answer.events is not None:
            relay = self._streaming.relay(request, job, answer, headers, resume=self._may_resume)
            try:
                return await self._streaming.serve(request, job, answer, relay)
            finally:
                exchange.count(relay.usage(), relay.events)
        with answer:
            response = WholeResponse(answer.first, status=status, fields=headers)
            if status >= 400 or answer.refused:
                return response, ENGINE_REJECTED
            exchange.count(stated_in(answer.first), job.waiting.output_tokens if exchange.generates else 0)
            return response, OK

    def _gave_up(self, job: Job, failures: list[Failure]) -> Outcome:
        """Return the last answer that an engine gave. Raise ApiError if none gave any."""
        refusal = next((failure for failure in reversed(failures) if isinstance(failure, Refusal)), None)
        if refusal is None:
            message = f"no engine answered; tried {'; '.join(map(str, failures))}"
            raise ApiError(failures[-1].kind, message, retry_after=self._retry_after)
        job.exchange.answered_by(refusal.engine)
        self._first_byte(job.exchange)
        headers = _answer_headers(job.exchange, refusal.source)
        response = WholeResponse(refusal.body, status=refusal.source.status, fields=headers)
        rejected = refusal.status == TOO_MANY_REQUESTS
        return response, ENGINE_REJECTED if rejected else ErrorKind.ENGINE_FAILED.label

    def _first_byte(self, exchange: Exchange) -> None:
        exchange.ttft = self._clock() - exchange.arrived
        self._metrics.first_byte_after(exchange.class_name, exchange.ttft)
        exchange.trace.event(FIRST_TOKEN)


def _describe(job: Job) -> None:
    model = job.body.get("model")
    job.exchange.trace.set(MODEL, model if isinstance(model, str) else None)
    job.exchange.trace.set(MAX_TOKENS, max_tokens(job.body))


def _answer_headers(exchange: Exchange, source: Response) -> dict[str, str]:
    """Return the headers for the client. Of the engine's headers, copy those with printable ASCII values."""
    found = {name: source.headers[name] for name in COPIED_BACK if name in source.headers}
    sound = {name: value for name, value in found.items() if value.isascii() and value.isprintable()}
    return {**sound, **exchange.response_headers()}
