"""POST /v1/completions and /v1/chat/completions: the two shapes of one generation."""

from __future__ import annotations

from fastapi import Request, Response
from fastapi.responses import JSONResponse

from llm_engine.server import prompts, unsupported
from llm_engine.server.async_engine import AsyncEngine
from llm_engine.server.choices import ChatChoices, TextChoices
from llm_engine.server.generation import Event, EventStream, collect, envelope, events, start, unless_disconnected
from llm_engine.server.requests import EngineChatRequest, EngineCompletionRequest


async def complete(request: Request, engine: AsyncEngine, model: str, body: EngineCompletionRequest) -> Response:
    unsupported.reject(body)
    submissions = await prompts.completion_submissions(engine.engine, body)
    results = await start(request, engine, submissions, body)
    shared = envelope("cmpl", request, "text_completion", model)
    choices = TextChoices(body, submissions, engine.engine.tokenizer)
    if body.stream:
        return EventStream(events(results, body, shared, choices.events))
    outputs, usage = await unless_disconnected(request, collect(results))
    answers = [choices.whole(prompt, output) for prompt, output in outputs]
    return JSONResponse({**shared, "choices": answers, "usage": usage.model_dump()})


async def chat(request: Request, engine: AsyncEngine, model: str, body: EngineChatRequest) -> Response:
    unsupported.reject(body)
    submissions = await prompts.chat_submissions(engine.engine, body)
    results = await start(request, engine, submissions, body)
    choices = ChatChoices(body, submissions[0].prompt_ids, engine.engine.tokenizer)
    extra: Event = {"prompt_token_ids": submissions[0].prompt_ids} if body.return_token_ids else {}
    if body.stream:
        shared = envelope("chatcmpl", request, "chat.completion.chunk", model)
        return EventStream(events(results, body, shared, choices.events, extra))
    shared = envelope("chatcmpl", request, "chat.completion", model)
    outputs, usage = await unless_disconnected(request, collect(results))
    if body.prompt_logprobs is not None:
        extra["prompt_logprobs"] = choices.prompt_logprobs(outputs[0][1].prompt_logprobs or [])
    answers = [choices.whole(prompt, output) for prompt, output in outputs]
    return JSONResponse({**shared, "choices": answers, "usage": usage.model_dump(), **extra})
