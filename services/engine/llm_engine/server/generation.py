"""The part that completions and chat share: run submissions, answer whole or as a stream, count tokens."""

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
from llm_engine.server.record import RequestRecord
from llm_engine.server.request_id import Send

T = TypeVar("T")

Event = dict[str, Any]
MANY_PLACES = 100
"""Number of tokens whose log-probabilities take about a millisecond to format."""
Results = AsyncGenerator[tuple[int, RequestOutput], None]
"""(index of the prompt, output), in order of arrival."""
Choices = Callable[[int, RequestOutput], list[Event]]
"""(index of the prompt, output) -> the choices it makes, each for an event of its own."""


@dataclass(slots=True)
class TokenCount:
    """Usage over all choices of one response."""

    prompt: dict[int, int] = field(default_factory=dict)
    completion: dict[tuple[int, int], int] = field(default_factory=dict)
    cached: dict[int, int] = field(default_factory=dict)

    def add_prompt(self, prompt: int, output: RequestOutput) -> None:
        """Count the tokens of a prompt once, for all of its answers."""
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
    """Return the fields that every event of a response has, and the whole response. `named`: the body's request id."""
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
    """Prepare the submissions and return their results. The engine starts when the first result is requested."""
    prepared = await engine.prepare(submissions, only_final=not body.stream)
    record: RequestRecord | None = getattr(request.state, "record", None)
    if record is not None:
        record.begin(body, prepared)
    trace_id = headers.trace_id(request.headers) if record is None else record.trace_id
    return engine.generate(prepared, body.priority, request.state.request_id, trace_id=trace_id)


async def collect(results: Results) -> tuple[list[tuple[int, RequestOutput]], Usage]:
    """Return (index of the prompt, output) of every answer, in order, and the usage."""
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
    """Yield server-sent events: choices as they arrive, then the usage if requested, then [DONE].

    A failure is sent as an event. `first`: additional fields of the first event.
    """
    options, count, extra = body.stream_options, TokenCount(), first or {}
    try:
        async with aclosing(results):
            async for index, output in results:
                count.add_prompt(index, output)
                made = await formatted(partial(choices, index, output), [output])
                for position, choice in enumerate(made, start=1):
                    if position == len(made):  # earlier ones have none of the new tokens
                        count.add(index, output)
                    event = {**shared, "choices": [choice], **extra}
                    extra = {}
                    if options is not None and options.include_usage and options.continuous_usage_stats:
                        event["usage"] = count.usage().model_dump()
                    yield sse.encode(event)
        if options is not None and options.include_usage:
            yield sse.encode({**shared, "choices": [], "usage": count.usage().model_dump()})
    except Exception as error:  # noqa: BLE001 - the headers are sent, so only an event can report it
        yield sse.encode(mid_stream(error, shared["id"]).body())
    yield sse.DONE


async def formatted(make: Callable[[], T], outputs: Sequence[RequestOutput]) -> T:
    """Call `make` and return its result. Use a thread if the outputs have many log-probabilities to format."""
    places = sum(len(output.logprobs or ()) + len(output.prompt_logprobs or ()) for output in outputs)
    return await asyncio.to_thread(make) if places > MANY_PLACES else make()


def as_json(answer: Event) -> Response:
    return Response(orjson.dumps(answer), media_type="application/json")


class EventStream(StreamingResponse):
    """A response that closes its events as soon as the client disconnects, not when they are garbage-collected."""

    def __init__(self, content: AsyncIterator[bytes]) -> None:
        super().__init__(content, headers={"content-type": sse.CONTENT_TYPE, "cache-control": "no-cache"})
        self._events = content

    async def stream_response(self, send: Send) -> None:
        async with aclosing(self._events):  # type: ignore[type-var]
            await super().stream_response(send)


async def unless_disconnected(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Return the result of `work`. Cancel it if the client disconnects. The request's body must be read before."""
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
