"""From an API request to what the engine takes: token ids and sampling parameters."""

from __future__ import annotations

import asyncio

from llm_contract.errors import ApiError, ErrorKind
from llm_engine.checkpoint.tokenizer import AnyTokenizer, NoTokenizer
from llm_engine.engine import Engine
from llm_engine.errors import RequestError
from llm_engine.sampling_params import SamplingParams
from llm_engine.server.messages import conversation
from llm_engine.server.requests import EngineChatRequest, EngineCompletionRequest
from llm_engine.server.submission import Submission

LONG_TEXT_CHARS = 20_000
"""Longer texts are tokenized in a thread: the event loop has streams to feed."""


async def completion_submissions(engine: Engine, body: EngineCompletionRequest) -> list[Submission]:
    """One per prompt; RequestError or ApiError before any is submitted."""
    params = sampling_params(body, body.max_tokens)
    prompts = [await _prompt_ids(engine.tokenizer, prompt, body) for prompt in _as_list(body.prompt)]
    return [Submission(ids, params, pieces) for ids, pieces in prompts]


async def chat_submissions(engine: Engine, body: EngineChatRequest) -> list[Submission]:
    params = sampling_params(body, body.max_completion_tokens or body.max_tokens)
    if body.continue_final_message and body.add_generation_prompt:
        raise RequestError(
            "continue_final_message and add_generation_prompt contradict each other; set one of them to false",
            "continue_final_message",
        )
    _, ids = await asyncio.to_thread(chat_prompt, engine.tokenizer, body)
    return [Submission(ids, params)]


def chat_prompt(tokenizer: AnyTokenizer, body: EngineChatRequest) -> tuple[str, list[int]]:
    """The chat as text, and its tokens. A model's template writes special tokens itself; the plain one does not."""
    if isinstance(tokenizer, NoTokenizer):
        raise RequestError("the engine runs without a tokenizer, and chat needs one", "messages")
    template = tokenizer.chat_templates.select()
    text = template.render(
        conversation(body.messages, template),
        tokenizer.special_tokens,
        add_generation_prompt=body.add_generation_prompt,
        continue_final_message=body.continue_final_message,
    )
    return text, tokenizer.encode(text, add_special_tokens=not tokenizer.chat_templates.exist)


def sampling_params(body: EngineCompletionRequest | EngineChatRequest, max_tokens: int | None) -> SamplingParams:
    """Null means vLLM's default."""
    if body.stream and body.prompt_logprobs is not None:
        raise RequestError("prompt_logprobs are not streamed; leave out stream or prompt_logprobs", "prompt_logprobs")
    return SamplingParams(
        temperature=1.0 if body.temperature is None else body.temperature,
        top_p=1.0 if body.top_p is None else body.top_p,
        top_k=body.top_k or 0,
        min_p=body.min_p or 0.0,
        seed=body.seed,
        max_tokens=max_tokens,
        min_tokens=body.min_tokens,
        stop=tuple(body.stop_strings()),
        stop_token_ids=tuple(body.stop_token_ids or ()),
        ignore_eos=body.ignore_eos,
        include_stop_str_in_output=body.include_stop_str_in_output,
        n=body.n,
        logprobs=body.num_logprobs,
        prompt_logprobs=body.num_prompt_logprobs,
        repetition_penalty=1.0 if body.repetition_penalty is None else body.repetition_penalty,
        presence_penalty=body.presence_penalty or 0.0,
        frequency_penalty=body.frequency_penalty or 0.0,
        logit_bias=body.logit_bias or {},
        allowed_token_ids=None if body.allowed_token_ids is None else tuple(body.allowed_token_ids),
        bad_words=tuple(body.bad_words or ()),
        structured=body.structured(),
    )


async def encode(tokenizer: AnyTokenizer, text: str, add_special_tokens: bool = True) -> list[int]:
    if len(text) < LONG_TEXT_CHARS:
        return tokenizer.encode(text, add_special_tokens)
    return await asyncio.to_thread(tokenizer.encode, text, add_special_tokens)


async def _prompt_ids(
    tokenizer: AnyTokenizer, prompt: str | list[int], body: EngineCompletionRequest
) -> tuple[list[int], list[str] | None]:
    """The prompt's tokens and, if it is to be echoed, their pieces of its text."""
    if not prompt:
        raise ApiError(ErrorKind.INVALID_REQUEST, "prompt is empty; it must hold at least one token", param="prompt")
    if isinstance(prompt, str):
        if body.echo:
            return await asyncio.to_thread(tokenizer.split, prompt)
        return await encode(tokenizer, prompt), None
    return prompt, (await asyncio.to_thread(tokenizer.pieces, prompt) if body.echo else None)


def _as_list(prompt: str | list[int] | list[str] | list[list[int]]) -> list[str | list[int]]:
    """A text, its token ids, or a list of either."""
    if isinstance(prompt, str):
        return [prompt]
    tokens = [item for item in prompt if isinstance(item, int)]
    return [tokens] if tokens or not prompt else [item for item in prompt if not isinstance(item, int)]
