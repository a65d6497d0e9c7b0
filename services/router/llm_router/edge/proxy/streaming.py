"""A streamed answer: relay it, and replay it at another engine if the first one fails.

Only the client's own hang-up raises an exception here: the answer has begun, so no second head can be sent.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import partial

from aiohttp import HttpVersion11, web

from llm_contract.errors import ApiError, ErrorKind
from llm_proxy.outcomes import ENGINE_REJECTED, OK
from llm_proxy.stream.answer import Answer
from llm_proxy.stream.relay import Relay
from llm_proxy.stream.resume import continuation, is_resumable, length_reached, tokens_allowed, tokens_received
from llm_proxy.upstream.client import EngineError, Upstream
from llm_proxy.upstream.interrupt import Interrupted
from llm_proxy.upstream.refusal import Refusal
from llm_proxy.watch.questions import count_tokens
from llm_router.edge.proxy.attempt import Attempts, ejected
from llm_router.edge.proxy.job import Job
from llm_router.edge.proxy.spans import REPLAY, TOKENS
from llm_router.fleet import Engine, Fleet
from llm_router.metrics import RouterMetrics

Outcome = tuple[web.StreamResponse, str]
"""The response, and the request's outcome as a label of router_requests_total."""

Failure = EngineError[Engine]

log = logging.getLogger(__name__)


class Streaming:
    """Serves streams to clients."""

    def __init__(
        self,
        attempts: Attempts,
        fleet: Fleet,
        upstream: Upstream,
        metrics: RouterMetrics,
        *,
        clock: Callable[[], float],
    ) -> None:
        self._attempts = attempts
        self._fleet = fleet
        self._upstream = upstream
        self._metrics = metrics
        self._clock = clock

    async def serve(
        self, request: web.Request, job: Job, answer: Answer[Engine], headers: Mapping[str, str], *, close: bool
    ) -> Outcome:
        """Send the whole stream, and `close` the connection after it. Raise ConnectionError if the client is gone."""
        client = web.StreamResponse(status=answer.source.status, headers={**headers, "cache-control": "no-cache"})
        if close:
            client.force_close()
        if request.version >= HttpVersion11:
            client.enable_chunked_encoding()
        keep = job.model.resume and is_resumable(job.path, job.body)
        relay = Relay(client, request.transport, self._upstream, self._clock, keep=keep)
        try:
            with answer:
                await client.prepare(request)
                failure = await self._run(job, relay, answer)
            if failure is not None and not _is_clients(failure):
                failure = await self._replay(job, relay, failure)
                self._metrics.stream_broke(job.model.name, "replayed" if failure is None else "error")
            await relay.finish(failure)
        except ConnectionError:
            raise
        except Exception:
            log.exception("%s failed after its answer had begun", request.path)
            await relay.give_up()
            return client, ErrorKind.INTERNAL.label
        return client, _outcome(failure)

    async def _run(self, job: Job, relay: Relay, answer: Answer[Engine]) -> Failure | None:
        assert answer.events is not None
        try:
            with answer.slot.interruptible:
                failure = await relay.run(answer.engine, answer.source, answer.events, answer.first)
        except Interrupted:
            failure = ejected(answer.engine)
        if failure is None:
            self._attempts.succeeded(job, answer.engine)
        else:
            self._attempts.failed(job, answer.engine, failure)
        return failure

    async def _replay(self, job: Job, relay: Relay, failure: Failure) -> Failure | None:
        """Continue the stream at other engines. Return None once it is complete, else the failure that ends it."""
        if relay.transcript is None:
            return failure
        left: Failure | None = failure
        while left is not None and self._attempts.another(job, left):
            with job.trace.span(REPLAY) as span:
                progress = relay.transcript.progress()
                if progress is None:
                    return left
                tokens = await tokens_received(job.path, job.body, progress, partial(self._count, job))
                if tokens is None:
                    return left
                span.set(TOKENS, tokens)
                limit = tokens_allowed(job.path, job.body)
                if progress.finished or (limit is not None and tokens >= limit):
                    await relay.complete(None if progress.finished else length_reached(job.path, progress))
                    return None
                self._metrics.reattempted(job.model.name, "replay")
                try:
                    answer = await self._attempts.begin(job, continuation(job.path, job.body, progress, tokens))
                except ApiError:
                    return left
                except EngineError as error:
                    left = error
                    continue
            with answer:
                if answer.events is None:
                    return left
                left = await self._run(job, relay, answer)
        return left

    async def _count(self, job: Job, text: str) -> int | None:
        """Return the number of tokens of `text` by an engine's tokenizer, None if no engine answers."""
        up = self._fleet.up(job.model.name, job.tried) or self._fleet.up(job.model.name)
        return await count_tokens(self._upstream, up[0], job.body.get("model"), text) if up else None


def _is_clients(failure: Failure) -> bool:
    return isinstance(failure, Refusal) and failure.client_fault


def _outcome(failure: Failure | None) -> str:
    if failure is None:
        return OK
    return ENGINE_REJECTED if _is_clients(failure) else failure.kind.label
