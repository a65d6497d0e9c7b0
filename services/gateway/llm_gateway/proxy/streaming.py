"""A streamed answer: relay it, continue it at another engine if the first one fails, and count its tokens.

Only the client's own hang-up raises an exception here: the answer has begun, so no second head can be sent.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import partial

from aiohttp import HttpVersion11, web

from llm_contract.errors import ApiError, ErrorKind
from llm_gateway.engines import Engine, EnginePool
from llm_gateway.metrics import GatewayMetrics
from llm_gateway.proxy.attempt import Attempts, Failure, ejected
from llm_gateway.request.admission import Job
from llm_proxy.outcomes import ENGINE_REJECTED, OK
from llm_proxy.stream.answer import Answer
from llm_proxy.stream.relay import Relay
from llm_proxy.stream.resume import continuation, is_resumable, length_reached, tokens_allowed, tokens_received
from llm_proxy.upstream.client import EngineError, Upstream
from llm_proxy.upstream.interrupt import Interrupted
from llm_proxy.upstream.refusal import Refusal
from llm_proxy.watch.questions import count_tokens

Outcome = tuple[web.StreamResponse, str]
"""The response, and the request's outcome as a label of gateway_requests_total."""

log = logging.getLogger(__name__)


class Streaming:
    """Serves streams to clients. `resume` allows a broken stream to continue at another engine."""

    def __init__(
        self,
        attempts: Attempts,
        pool: EnginePool,
        upstream: Upstream,
        metrics: GatewayMetrics,
        *,
        clock: Callable[[], float],
        resume: bool,
    ) -> None:
        self._attempts = attempts
        self._pool = pool
        self._upstream = upstream
        self._metrics = metrics
        self._clock = clock
        self._may_resume = resume

    async def serve(
        self, request: web.Request, job: Job, answer: Answer[Engine], headers: Mapping[str, str]
    ) -> Outcome:
        """Send the whole stream. Raise ConnectionError if the client is gone."""
        client = web.StreamResponse(status=answer.source.status, headers={**headers, "cache-control": "no-cache"})
        if request.version >= HttpVersion11:
            client.enable_chunked_encoding()
        keep = self._may_resume and is_resumable(job.path, job.body)
        relay = Relay(client, request.transport, self._upstream, self._clock, keep=keep)
        try:
            with answer:
                await client.prepare(request)
                failure = await self._run(job, relay, answer)
            if failure is not None:
                failure = await self._resume(job, relay, failure)
            await relay.finish(failure)
        except ConnectionError:
            raise
        except Exception:
            log.exception("%s failed after its answer had begun", request.path)
            await relay.give_up()
            return client, ErrorKind.INTERNAL.label
        finally:
            job.exchange.count(relay.usage(), relay.events)
        return client, _outcome(failure)

    async def _run(self, job: Job, relay: Relay, answer: Answer[Engine]) -> Failure | None:
        try:
            with job.waiting.interruptible:
                assert answer.events is not None
                failure = await relay.run(answer.engine, answer.source, answer.events, answer.first)
        except Interrupted:
            failure = ejected(answer.engine)
        if failure is None:
            self._attempts.completed(answer.engine)
        else:
            self._attempts.failed(job, failure)
        return failure

    async def _resume(self, job: Job, relay: Relay, failure: Failure) -> Failure | None:
        """Continue the stream at other engines. Return None once it is complete, else the failure that ends it."""
        if relay.transcript is None:
            return failure
        left: Failure | None = failure
        while left is not None and left.retryable and self._attempts.another(job):
            progress = relay.transcript.progress()
            tokens = (
                None
                if progress is None
                else await tokens_received(job.path, job.body, progress, partial(self._count, job))
            )
            if progress is None or tokens is None:
                return left
            limit = tokens_allowed(job.path, job.body)
            if progress.finished or (limit is not None and tokens >= limit):
                await relay.complete(None if progress.finished else length_reached(job.path, progress))
                return None
            self._metrics.reattempted(job.exchange.class_name, "resume")
            try:
                answer = await self._attempts.begin(job, continuation(job.path, job.body, progress, tokens))
            except (ApiError, EngineError, Interrupted):
                continue
            with answer:
                if answer.events is None:
                    return left
                left = await self._run(job, relay, answer)
        return left

    async def _count(self, job: Job, text: str) -> int | None:
        """Return the number of tokens of `text` by an engine's tokenizer, None if no engine answers."""
        engine = self._pool.choose(job.waiting.tried, job.waiting.model)
        if engine is None:
            return None
        return await count_tokens(self._upstream, engine, job.body.get("model"), text)


def _outcome(failure: Failure | None) -> str:
    if failure is None:
        return OK
    rejected = isinstance(failure, Refusal) and failure.client_fault
    return ENGINE_REJECTED if rejected else failure.kind.label
