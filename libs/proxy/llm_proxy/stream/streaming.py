"""A streamed answer from its first byte on: relay it, continue it at another engine if the first one fails, end it.

Only the client's own hang-up raises an exception here: the answer has begun, so no second head can be sent.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

from aiohttp import HttpVersion11, web

from llm_contract.errors import ApiError, ErrorKind
from llm_proxy.outcomes import ENGINE_REJECTED, OK
from llm_proxy.stream.answer import Answer
from llm_proxy.stream.relay import Relay
from llm_proxy.stream.resume import (
    Continuation,
    continuation,
    is_resumable,
    length_reached,
    tokens_allowed,
    tokens_received,
)
from llm_proxy.telemetry.tracing import Span
from llm_proxy.upstream.client import Engine, EngineError, Upstream, ejected
from llm_proxy.upstream.interrupt import Interrupted
from llm_proxy.upstream.refusal import Refusal
from llm_proxy.watch.questions import count_tokens

Outcome = tuple[web.StreamResponse, str]
"""The response, and the request's outcome as a label in metrics."""

TOKENIZERS_ASKED = 3

log = logging.getLogger(__name__)


class Job(Protocol):
    """A request as far as its stream is concerned."""

    @property
    def path(self) -> str: ...

    @property
    def body(self) -> dict[str, Any]: ...


AnyJob = TypeVar("AnyJob", bound=Job, contravariant=True)


class Attempts(Protocol[AnyJob, Engine]):
    """A service's attempts at its engines."""

    async def begin(self, job: AnyJob, rest: Continuation | None = None) -> Answer[Engine]:
        """Return an engine's answer once it has begun. Raise EngineError, ApiError if there is no slot, Interrupted."""

    def succeeded(self, job: AnyJob, engine: Engine) -> None:
        """Record an answer that came to its end."""

    def failed(self, job: AnyJob, failure: EngineError[Engine]) -> None:
        """Record the failure of an answer that had begun."""

    def another(self, job: AnyJob, failure: EngineError[Engine]) -> bool:
        """Return whether the request can be sent again, and count the retry if so."""

    def tokenizers(self, job: AnyJob) -> Sequence[Engine]:
        """Return the engines that can count the tokens of the job's answer, the best one first."""

    def resuming(self, job: AnyJob) -> Span:
        """Return the span from a stream's failure to the next engine's first byte."""

    def resumed(self, job: AnyJob, span: Span, tokens: int) -> None:
        """Record that the rest of an answer is requested, of which the client has `tokens` tokens."""


class Streaming(Generic[AnyJob, Engine]):
    """Serves streams to clients."""

    def __init__(self, attempts: Attempts[AnyJob, Engine], upstream: Upstream, *, clock: Callable[[], float]) -> None:
        self._attempts = attempts
        self._upstream = upstream
        self._clock = clock

    def relay(
        self,
        request: web.Request,
        job: AnyJob,
        answer: Answer[Engine],
        headers: Mapping[str, str],
        *,
        resume: bool,
        close: bool = False,
    ) -> Relay:
        """Return the relay to the client. `resume` allows another engine; `close` ends the connection afterwards."""
        client = web.StreamResponse(status=answer.source.status, headers={**headers, "cache-control": "no-cache"})
        if close:
            client.force_close()
        if request.version >= HttpVersion11:
            client.enable_chunked_encoding()
        keep = resume and is_resumable(job.path, job.body)
        return Relay(client, request.transport, self._upstream, self._clock, keep=keep)

    async def serve(self, request: web.Request, job: AnyJob, answer: Answer[Engine], relay: Relay) -> Outcome:
        """Send the whole stream. Raise ConnectionError if the client is gone."""
        try:
            with answer:
                await relay.client.prepare(request)
                failure = await self._run(job, relay, answer)
            if failure is not None:
                relay.broken = not _is_clients(failure)
                failure = await self._resume(job, relay, failure)
            await relay.finish(failure)
        except ConnectionError:
            raise
        except Exception:
            log.exception("%s failed after its answer had begun", request.path)
            await relay.give_up()
            return relay.client, ErrorKind.INTERNAL.label
        return relay.client, _outcome(failure)

    async def _run(self, job: AnyJob, relay: Relay, answer: Answer[Engine]) -> EngineError[Engine] | None:
        assert answer.events is not None
        try:
            with answer.slot.interruptible:
                failure = await relay.run(answer.engine, answer.source, answer.events, answer.first)
        except Interrupted:
            failure = ejected(answer.engine)
        if failure is None:
            self._attempts.succeeded(job, answer.engine)
        else:
            self._attempts.failed(job, failure)
        return failure

    async def _resume(self, job: AnyJob, relay: Relay, broke: EngineError[Engine]) -> EngineError[Engine] | None:
        """Continue the stream at other engines. Return None once it is complete, else the failure that broke it."""
        if relay.transcript is None:
            return broke
        last = broke
        while self._attempts.another(job, last):
            with self._attempts.resuming(job) as span:
                progress = relay.transcript.progress()
                if progress is None:
                    return broke
                tokens = await tokens_received(job.path, job.body, progress, partial(self._count, job))
                if tokens is None:
                    return broke
                limit = tokens_allowed(job.path, job.body)
                if progress.finished or (limit is not None and tokens >= limit):
                    await relay.complete(None if progress.finished else length_reached(job.path, progress))
                    return None
                self._attempts.resumed(job, span, tokens)
                try:
                    answer = await self._attempts.begin(job, continuation(job.path, job.body, progress, tokens))
                except EngineError as error:
                    last = error
                    continue
                except Interrupted:
                    continue
                except ApiError:
                    return broke
            with answer:
                if answer.events is None:
                    return broke
                failure = await self._run(job, relay, answer)
            if failure is None:
                return None
            broke = last = failure
        return broke

    async def _count(self, job: AnyJob, text: str) -> int | None:
        """Return the number of tokens of `text` by an engine's tokenizer, None if no engine answers.

        The first one asked can have died together with the engine of the stream.
        """
        for engine in self._attempts.tokenizers(job)[:TOKENIZERS_ASKED]:
            counted = await count_tokens(self._upstream, engine, job.body.get("model"), text)
            if counted is not None:
                return counted
        return None


def _is_clients(failure: EngineError[Engine]) -> bool:
    return isinstance(failure, Refusal) and failure.client_fault


def _outcome(failure: EngineError[Engine] | None) -> str:
    if failure is None:
        return OK
    return ENGINE_REJECTED if _is_clients(failure) else failure.kind.label
