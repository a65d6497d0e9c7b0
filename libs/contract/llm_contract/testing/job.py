"""A request body as the scripted engine reads it: checked as vLLM does, counted in tokens, answered in its shape."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import orjson
from pydantic import ValidationError

from llm_contract.errors import ApiError, ErrorKind
from llm_contract.openai import ChatCompletionRequest, CompletionRequest, GenerationRequest, StreamOptions
from llm_contract.testing.script import Script, next_word, text, tokenize

DEFAULT_MAX_TOKENS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    model: str
    chat: bool
    prompt: list[int]
    """Tokens."""
    first: int
    """Number of the answer's first word."""
    max_tokens: int
    """Every answer has exactly this length."""
    priority: int
    stream: bool
    include_usage: bool
    continuous_usage: bool
    """Usage so far in every chunk: vLLM's stream_options.continuous_usage_stats."""

    @property
    def prompt_tokens(self) -> int:
        return len(self.prompt)

    def event(self, choice: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return one chunk of a stream, with `choice` if there is one."""
        kind, prefix = ("chat.completion.chunk", "chatcmpl") if self.chat else ("text_completion", "cmpl")
        choices = [{"index": 0, "finish_reason": None, **choice}] if choice else []
        return {"id": f"{prefix}-0", "object": kind, "created": 0, "model": self.model, "choices": choices}

    def choice(self, piece: str, finish_reason: str | None) -> dict[str, Any]:
        content: dict[str, Any] = {"delta": {"content": piece}} if self.chat else {"text": piece}
        return {**content, "finish_reason": finish_reason}

    def whole(self) -> dict[str, Any]:
        """Return the answer to a request that does not stream."""
        words = text(self.first, self.max_tokens)
        message = {"message": {"role": "assistant", "content": words}} if self.chat else {"text": words}
        event = self.event({**message, "finish_reason": "length"})
        kind = "chat.completion" if self.chat else "text_completion"
        return {**event, "object": kind, "usage": self.usage(self.max_tokens)}

    def usage(self, generated: int) -> dict[str, int]:
        """Return the usage after that many tokens of the answer."""
        total = self.prompt_tokens + generated
        return {"prompt_tokens": self.prompt_tokens, "completion_tokens": generated, "total_tokens": total}


def parse(path: str, raw: bytes, script: Script) -> tuple[dict[str, Any], Job]:
    """Parse a request's body. Raises ApiError for what a real engine would refuse."""
    chat = path.endswith("/chat/completions")
    try:
        body = orjson.loads(raw)
        parsed = (ChatCompletionRequest if chat else CompletionRequest).model_validate(body)
    except ValidationError as error:
        first = error.errors()[0]
        param = ".".join(str(part) for part in first["loc"])
        raise ApiError(ErrorKind.INVALID_REQUEST, f"{param}: {first['msg']}", param=param) from None
    except ValueError as error:
        raise ApiError(ErrorKind.INVALID_REQUEST, f"the body is not JSON: {error}") from None
    job = _job(parsed, chat, script.model)
    _check(parsed, job, script)
    return body, job


def _job(parsed: GenerationRequest, chat: bool, model: str) -> Job:
    if isinstance(parsed, ChatCompletionRequest):
        prompt = [token for message in parsed.messages for token in tokenize(message.text())]
        continues = parsed.continue_final_message
        max_tokens = parsed.max_completion_tokens or parsed.max_tokens
    else:
        assert isinstance(parsed, CompletionRequest)
        prompt = _first_prompt(parsed)
        continues = True
        max_tokens = parsed.max_tokens
    options = parsed.stream_options or StreamOptions()
    return Job(
        model=model,
        chat=chat,
        prompt=prompt,
        first=next_word(prompt) if continues else 0,
        max_tokens=max_tokens or DEFAULT_MAX_TOKENS,
        priority=parsed.priority,
        stream=parsed.stream,
        include_usage=options.include_usage,
        continuous_usage=options.continuous_usage_stats,
    )


def _first_prompt(parsed: CompletionRequest) -> list[int]:
    """Return the tokens of the first of a completion's prompts."""
    prompt = parsed.prompt
    if isinstance(prompt, list) and prompt and not isinstance(prompt[0], int):
        prompt = prompt[0]
    return tokenize(prompt) if isinstance(prompt, str) else cast(list[int], prompt)


def _check(parsed: GenerationRequest, job: Job, script: Script) -> None:
    if parsed.model not in (None, script.model):
        message = f"The model `{parsed.model}` does not exist."
        raise ApiError(ErrorKind.MODEL_NOT_FOUND, message, param="model")
    if isinstance(parsed, ChatCompletionRequest) and parsed.continue_final_message and parsed.add_generation_prompt:
        message = "continue_final_message needs add_generation_prompt to be false"
        raise ApiError(ErrorKind.INVALID_REQUEST, message, param="continue_final_message")
    if not job.prompt_tokens:
        raise ApiError(ErrorKind.INVALID_REQUEST, "the prompt is empty", param="prompt")
    longest = min(script.max_model_len, script.kv_tokens or script.max_model_len)
    if job.prompt_tokens + job.max_tokens > longest:
        message = f"This model's maximum context length is {longest} tokens."
        raise ApiError(ErrorKind.CONTEXT_LENGTH_EXCEEDED, message, param="prompt")
