"""The common part of completions and chat: run submissions, whole or as a stream of events, and count tokens."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import orjson
from fastapi import Request, Response
from fastapi.responses import StreamingResponse

from llm_contract import headers, sse
from llm_contract.errors import ApiError, ErrorKind
from llm_contract.openai import GenerationRequest, PromptTokensDetails, Usage
from llm_engine.request.outputs import RequestOutput
from llm_engine.server.async_engine import AsyncEngine
from llm_engine.server.errors import mid_stream
from llm_engine.server.reading.submission import Submission
from llm_engine.server.request_id import Send

T = TypeVar("T")

Event = dict[str, Any]
MANY_PLACES = 100
"""Tokens whose log-probabilities take about a millisecond to name."""
Results = AsyncGenerator[tuple[int, RequestOutput], None]
"""(index of the prompt, output), as they come."""
Choices = Callable[[int, RequestOutput], list[Event]]
"""(index, output) -> the `choices` of each event it makes, one choice an event."""


@dataclass(slots=True)
class TokenCount:
    """Usage over all choices of one response."""

    prompt: dict[int, int] = field(default_factory=dict)
    completion: dict[tuple[int, int], int] = field(default_factory=dict)
    cached: dict[int, int] = field(default_factory=dict)

    def add_prompt(self, prompt: int, output: RequestOutput) -> None:
        """The n answers to one prompt share its tokens."""
        self.prompt[prompt] = output.num_prompt_tokens
        if output.index == 0:
            self.cached[prompt] = output.num_cached_tokens

    def add(self, prompt: int, output: RequestOutput) -> None:
        self.add_prompt(prompt, output)
        self.completion[prompt, output.index] = output.num_output_tokens

    def usage(self) -> Usage:
        prompt, completion = sum(self.prompt.values()), sum(self.completion.values())
        return Usage(
            prompt_tokens=prompt,
            completion_tokens=completion,
            total_tokens=prompt + completion,
            prompt_tokens_details=PromptTokensDetails(cached_tokens=sum(self.cached.values())),
        )


def envelope(prefix: str, request: Request, kind: str, model: str, *, named: str | None = None) -> Event:
    """The fields that all events of a response, and its whole body, share. `named`: the body's request id."""
    given = headers.REQUEST_ID in request.headers
    return {
        "id": f"{prefix}-{named if named and not given else request.state.request_id}",
        "object": kind,
        "created": int(time.time()),
        "model": model,
    }


async def start(
    request: Request, engine: AsyncEngine, submissions: Sequence[Submission], body: GenerationRequest
) -> Results:
    """Prepare the submissions and return their results, which begin when they are first asked for."""
    prepared = await engine.prepare(submissions, only_final=not body.stream)
    return engine.generate(
        prepared, body.priority, request.state.request_id, trace_id=headers.trace_id(request.headers)
    )


async def collect(results: Results) -> tuple[list[tuple[int, RequestOutput]], Usage]:
    """(index of the prompt, output) of every answer, in order."""
    outputs: list[tuple[int, RequestOutput]] = []
    count = TokenCount()
    async with aclosing(results):
        async for index, output in results:
            outputs.append((index, output))
            count.add(index, output)
    return sorted(outputs, key=lambda item: (item[0], item[1].index)), count.usage()


async def events(
    results: Results, body: GenerationRequest, shared: Event, choices: Choices, *, first: Event | None = None
) -> AsyncIterator[bytes]:
    """Server-sent events: choices as they come, usage if asked for, [DONE]. A failure is an event of its own.

    `first`: fields that the first event has beside `shared`.
    """
    options, count, extra = body.stream_options, TokenCount(), first or {}
    try:
        async with aclosing(results):
            async for index, output in results:
                count.add_prompt(index, output)
                made = await formatted(partial(choices, index, output), [output])
                for position, choice in enumerate(made, start=1):
                    if position == len(made):  # those before it have none of the new tokens
                        count.add(index, output)
                    event = {**shared, "choices": [choice], **extra}
                    extra = {}
                    if options is not None and options.include_usage and options.continuous_usage_stats:
                        event["usage"] = count.usage().model_dump()
                    yield sse.encode(event)
        if options is not None and options.include_usage:
            yield sse.encode({**shared, "choices": [], "usage": count.usage().model_dump()})
    except Exception as error:  # noqa: BLE001 - the headers are out: only an event can tell
        yield sse.encode(mid_stream(error, shared["id"]).body())
    yield sse.DONE


async def formatted(make: Callable[[], T], outputs: Sequence[RequestOutput]) -> T:
    """Return what `make` makes of the outputs, in a thread if it has many log-probabilities to name."""
    places = sum(len(output.logprobs or ()) + len(output.prompt_logprobs or ()) for output in outputs)
    return await asyncio.to_thread(make) if places > MANY_PLACES else make()


def as_json(answer: Event) -> Response:
    return Response(orjson.dumps(answer), media_type="application/json")


class EventStream(StreamingResponse):
    """Closes its events when the client goes away, at once and not when the garbage collector comes by."""

    def __init__(self, content: AsyncIterator[bytes]) -> None:
        super().__init__(content, headers={"content-type": sse.CONTENT_TYPE, "cache-control": "no-cache"})
        self._events = content

    async def stream_response(self, send: Send) -> None:
        async with aclosing(self._events):  # type: ignore[type-var]
            await super().stream_response(send)


async def unless_disconnected(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, which is cancelled if the client hangs up. The request's body has been read."""
    task, watcher = asyncio.ensure_future(work), asyncio.ensure_future(_disconnect(request))
    try:
        await asyncio.wait({task, watcher}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ApiError(ErrorKind.CLIENT_CLOSED, "the client closed the connection")
        return task.result()
    finally:
        watcher.cancel()
        task.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await task


async def _disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
