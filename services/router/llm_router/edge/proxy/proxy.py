"""A request from its first byte to its last: admit it, wait for room, send it, pass the answer on.

Until the client has received a byte, a failing engine costs it nothing: the request goes to another engine and keeps
its place in the queue. After that a stream is replayed at another engine where that is sound (llm_proxy.stream). A
client that hangs up cancels the handler at any point. This takes the request out of the queue, or closes the connection
to the engine, which makes the engine abort it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from aiohttp import web

from llm_contract import headers, logs
from llm_contract.errors import ApiError, ErrorKind
from llm_proxy.edge.responses import WholeResponse, error_response
from llm_proxy.outcomes import ENGINE_REJECTED, OK
from llm_proxy.request import body as request_body
from llm_proxy.request.identity import request_id
from llm_proxy.stream.answer import Answer
from llm_proxy.stream.streaming import Outcome, Streaming
from llm_proxy.telemetry.tracing import FIRST_TOKEN, MODEL, NO_TRACE, Trace, Tracing
from llm_proxy.upstream.client import EngineError, Upstream
from llm_proxy.upstream.connection import Response
from llm_proxy.upstream.refusal import TOO_MANY_REQUESTS, Refusal
from llm_proxy.upstream.retry_budget import RetryBudget
from llm_router.edge.proxy import job as jobs
from llm_router.edge.proxy.attempt import Attempts
from llm_router.edge.proxy.job import Job
from llm_router.edge.proxy.queue import Queues
from llm_router.edge.proxy.spans import POLICY
from llm_router.edge.settings import EdgeSettings
from llm_router.fleet import Engine, Fleet
from llm_router.metrics import RouterMetrics

COPIED_BACK = ("content-type", headers.RETRY_AFTER)


class Proxy:
    """The handler of all requests that take a slot. `clock` is monotonic, in seconds."""

    def __init__(
        self,
        settings: EdgeSettings,
        fleet: Fleet,
        queues: Queues,
        *,
        upstream: Upstream,
        tracing: Tracing,
        metrics: RouterMetrics,
        clock: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._fleet = fleet
        self._queues = queues
        self._tracing = tracing
        self._metrics = metrics
        self._clock = clock
        self._retries = RetryBudget(settings.retry_budget, clock)
        self._attempts = Attempts(
            upstream,
            queues,
            fleet,
            metrics,
            clock=clock,
            max_attempts=settings.max_attempts,
            retries=self._retries,
        )
        self._streaming = Streaming(self._attempts, upstream, clock=clock)
        self.lame_duck = False
        """Every answer closes its connection, so that clients go elsewhere with their next request."""
        self.open = 0
        """Number of requests that have not ended."""
        self._ended = asyncio.Event()

    async def idle(self) -> None:
        """Return when no request is open."""
        while self.open:
            self._ended.clear()
            await self._ended.wait()

    async def generate(self, request: web.Request) -> web.StreamResponse:
        """Handle a request to one of the endpoints that take a slot."""
        arrived = self._clock()
        trace = self._tracing.begin(request.headers, request.path)
        job: Job | None = None
        outcome, status = ErrorKind.INTERNAL.label, ErrorKind.INTERNAL.status
        name = request_id(request.headers)
        logs.concern(name, trace.trace_id or headers.trace_id(request.headers))
        self.open += 1
        try:
            job = await self._admit(request, name, arrived, trace)
            response, outcome = await self._serve(request, job)
            status = response.status
        except ApiError as error:
            outcome, status = error.kind.label, error.kind.status
            found = {headers.REQUEST_ID: name} if job is None else job.response_headers()
            response = error_response(error, found)
        except (asyncio.CancelledError, ConnectionError):
            outcome, status = ErrorKind.CLIENT_CLOSED.label, ErrorKind.CLIENT_CLOSED.status
            raise
        finally:
            seconds = self._clock() - arrived
            self._settle(job, outcome, seconds)
            trace.end(outcome, status)
            access, path = self._settings.access_log, f"POST {request.path}"
            logs.request_ended(access, path, status=status, outcome=outcome, seconds=seconds)
        if self.lame_duck and not response.prepared:
            response.force_close()
        return response

    async def _admit(self, request: web.Request, name: str, arrived: float, trace: Trace) -> Job:
        settings = self._settings
        raw = await request_body.read(request, settings.max_body_bytes, settings.connections.body_timeout)
        job = jobs.parse(request, raw, self._fleet, request_id=name, arrived=arrived)
        if trace is not NO_TRACE:
            job.trace = trace
            trace.set(MODEL, job.model.name)
            trace.set(POLICY, job.model.policy)
        self._retries.request()
        return job

    async def _serve(self, request: web.Request, job: Job) -> Outcome:
        failures: list[EngineError[Engine]] = []
        while True:
            try:
                answer = await self._attempts.begin(job)
            except EngineError as error:
                failures.append(error)
                if not self._attempts.another(job, error):
                    return self._gave_up(job, failures)
                self._metrics.reattempted(job.model.name, "retry")
                continue
            except ApiError:
                if not any(isinstance(failure, Refusal) for failure in failures):
                    raise
                return self._gave_up(job, failures)
            job.engine = answer.engine.shown
            self._first_byte(job)
            return await self._answer(request, job, answer)

    async def _answer(self, request: web.Request, job: Job, answer: Answer[Engine]) -> Outcome:
        found = _answer_headers(job, answer.source)
        if answer.events is not None:
            return await self._stream(request, job, answer, found)
        with answer:
            response = WholeResponse(answer.first, status=answer.source.status, fields=found)
            return response, ENGINE_REJECTED if answer.source.status >= 400 or answer.refused else OK

    async def _stream(
        self, request: web.Request, job: Job, answer: Answer[Engine], found: Mapping[str, str]
    ) -> Outcome:
        relay = self._streaming.relay(request, job, answer, found, resume=job.model.resume, close=self.lame_duck)
        response, outcome = await self._streaming.serve(request, job, answer, relay)
        if relay.broken:
            self._metrics.stream_broke(job.model.name, "replayed" if outcome == OK else "error")
        return response, outcome

    def _gave_up(self, job: Job, failures: list[EngineError[Engine]]) -> Outcome:
        """Return the last answer that an engine gave. Raise ApiError if none gave any."""
        refusal = next((failure for failure in reversed(failures) if isinstance(failure, Refusal)), None)
        if refusal is None:
            message = f"no engine answered; tried {'; '.join(map(str, failures))}"
            raise ApiError(failures[-1].kind, message, retry_after=1.0)
        job.engine = refusal.engine.shown
        self._first_byte(job)
        found = _answer_headers(job, refusal.source)
        response = WholeResponse(refusal.body, status=refusal.source.status, fields=found)
        rejected = refusal.client_fault or refusal.status == TOO_MANY_REQUESTS
        return response, ENGINE_REJECTED if rejected else ErrorKind.ENGINE_FAILED.label

    def _first_byte(self, job: Job) -> None:
        self._metrics.first_byte_after(job.model.name, self._clock() - job.arrived)
        job.trace.event(FIRST_TOKEN)

    def _settle(self, job: Job | None, outcome: str, seconds: float) -> None:
        """Count a request that has ended. One without a job has no model: a client's words are no labels."""
        self.open -= 1
        if not self.open:
            self._ended.set()
        model, policy = ("", "") if job is None else (job.model.name, job.model.policy)
        self._metrics.finished(model, policy, outcome, seconds)


def _answer_headers(job: Job, source: Response) -> dict[str, str]:
    """Return the headers for the client. Of the engine's headers, copy those with printable ASCII values."""
    found = job.response_headers()
    for name in COPIED_BACK:
        value = source.headers.get(name)
        if value is not None and value.isascii() and value.isprintable():
            found[name] = value
    return found
