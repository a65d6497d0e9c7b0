"""The handlers of POST /v1/completions and /v1/chat/completions.

A whole answer has every field that vLLM's answer has. Fields that mean nothing here are null.
"""

from __future__ import annotations

from fastapi import Request, Response

from llm_contract.openai import Usage
from llm_engine.server.async_engine import AsyncEngine
from llm_engine.server.choices import ChatChoices, Json, TextChoices
from llm_engine.server.errors import fields_named_by
from llm_engine.server.generation import (
    Event,
    EventStream,
    as_json,
    collect,
    envelope,
    events,
    formatted,
    start,
    unless_disconnected,
)
from llm_engine.server.reading.requests import EngineChatRequest, EngineCompletionRequest
from llm_engine.server.reading.submission import Submission

EMPTY: Json = dict.fromkeys(
    ("service_tier", "system_fingerprint", "kv_transfer_params", "ec_transfer_params", "metrics")
)


async def complete(
    request: Request, engine: AsyncEngine, model: str, body: EngineCompletionRequest, *, submissions: list[Submission]
) -> Response:
    """Answer a completion request, whole or as a stream."""
    with fields_named_by(body):
        results = await start(request, engine, submissions, body)
    shared = envelope("cmpl", request, "text_completion", model, named=body.request_id)
    choices = TextChoices(body, submissions, engine.engine.tokenizer)
    if body.stream:
        return EventStream(events(results, body, shared, choices.events))
    outputs, usage = await unless_disconnected(request, collect(results))

    def answer() -> Response:
        answers = [choices.whole(prompt, output) for prompt, output in outputs]
        return as_json({**shared, **EMPTY, "choices": answers, "usage": _usage(usage)})

    return await formatted(answer, [output for _, output in outputs])


async def chat(
    request: Request,
    engine: AsyncEngine,
    model: str,
    *,
    body: EngineChatRequest,
    submissions: list[Submission],
    text: str | None,
) -> Response:
    """Answer a chat request, whole or as a stream. `text`: the rendered prompt, if the answer has to repeat it."""
    with fields_named_by(body):
        results = await start(request, engine, submissions, body)
    choices = ChatChoices(body, submissions[0].prompt_ids, engine.engine.tokenizer)
    extra: Event = {
        "prompt_token_ids": submissions[0].prompt_ids if body.return_token_ids else None,
        "prompt_text": text,
    }
    if body.stream:
        shared = envelope("chatcmpl", request, "chat.completion.chunk", model, named=body.request_id)
        return EventStream(events(results, body, shared, choices.events, first=extra))
    shared = envelope("chatcmpl", request, "chat.completion", model, named=body.request_id)
    outputs, usage = await unless_disconnected(request, collect(results))

    def answer() -> Response:
        extra["prompt_logprobs"] = choices.prompt_logprobs(outputs[0][1].prompt_logprobs)
        answers = [choices.whole(prompt, output) for prompt, output in outputs]
        return as_json({**shared, **EMPTY, "choices": answers, "usage": _usage(usage), **extra})

    return await formatted(answer, [output for _, output in outputs])


def _usage(usage: Usage) -> Json:
    return {**usage.model_dump(), "completion_tokens_details": None}
