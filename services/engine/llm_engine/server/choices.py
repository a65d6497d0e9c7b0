"""The `choices` of a response, made from the engine's outputs: whole, or as events of a stream."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from llm_engine.checkpoint.tokenizer import AnyTokenizer
from llm_engine.request.outputs import RequestOutput
from llm_engine.sampling.logprobs import TokenLogprobs
from llm_engine.scheduler.sequence import FinishReason
from llm_engine.server import logprobs
from llm_engine.server.logprobs import PlaceReader
from llm_engine.server.reading.messages import last_text
from llm_engine.server.reading.requests import EngineChatRequest, EngineCompletionRequest
from llm_engine.server.reading.submission import Submission

Json = dict[str, Any]

EMPTY_MESSAGE: Json = dict.fromkeys(("refusal", "annotations", "audio", "function_call", "reasoning"))
"""Fields of a message that are always null here."""


class TextChoices:
    """The choices of a completion. It keeps the text offset and the token reader of each choice."""

    def __init__(self, body: EngineCompletionRequest, submissions: list[Submission], tokenizer: AnyTokenizer) -> None:
        self._body = body
        self._submissions = submissions
        self._tokenizer = tokenizer
        self._names_ids = bool(body.return_tokens_as_token_ids) or not tokenizer.has_text
        self._readers: dict[int, PlaceReader] = {}
        self._offsets: dict[int, int] = {}

    def whole(self, prompt: int, output: RequestOutput) -> Json:
        at = output.prompt_logprobs
        prompt_logprobs = None if at is None else self._prompt_logprobs(prompt, at)
        return {**self._choice(prompt, output), "prompt_logprobs": prompt_logprobs, "routed_experts": None}

    def events(self, prompt: int, output: RequestOutput) -> list[Json]:
        return [self._choice(prompt, output)]

    def _choice(self, prompt: int, output: RequestOutput) -> Json:
        index = prompt * self._body.n + output.index
        if self._body.max_tokens == 0:
            output = _without_answer(output)
        first = index not in self._offsets
        echoed = (self._submissions[prompt].pieces or []) if first else []
        choice = {
            "index": index,
            "text": "".join(echoed) + output.text,
            "logprobs": self._logprobs(index, prompt, output, echoed),
            "finish_reason": reason(output),
            "stop_reason": output.stop_reason,
        }
        self._offsets.setdefault(index, 0)
        ids = bool(self._body.return_token_ids)
        choice["token_ids"] = output.token_ids if ids else None
        choice["prompt_token_ids"] = self._submissions[prompt].prompt_ids if ids and first else None
        return choice

    def _logprobs(self, index: int, prompt: int, output: RequestOutput, echoed: list[str]) -> Json | None:
        if output.logprobs is None or output.pieces is None or self._body.logprobs is None:
            return None
        prompt_ids = self._submissions[prompt].prompt_ids
        reader = self._readers.get(index)
        if reader is None:
            reader = self._readers[index] = self._reader(() if echoed else prompt_ids)
        places = reader.read(prompt_ids, output.prompt_logprobs or [], echoed)
        places += reader.read(output.token_ids, output.logprobs, output.pieces)
        offset = self._offsets.get(index, 0)
        self._offsets[index] = offset + sum(len(place.text) for place in places)
        return logprobs.of_completion(places, self._body.logprobs, offset)

    def _prompt_logprobs(self, prompt: int, at: list[TokenLogprobs | None]) -> list[Json | None]:
        return logprobs.of_prompt(PlaceReader(self._tokenizer).read(self._submissions[prompt].prompt_ids, at))

    def _reader(self, before: Sequence[int]) -> PlaceReader:
        return PlaceReader(self._tokenizer, before, self._names_ids)


class ChatChoices:
    """The choices of a chat. The first event of a choice has the role and no text, as in OpenAI's API."""

    def __init__(self, body: EngineChatRequest, prompt_ids: list[int], tokenizer: AnyTokenizer) -> None:
        self._body = body
        self._tokenizer = tokenizer
        self._names_ids = bool(body.return_tokens_as_token_ids) or not tokenizer.has_text
        self._prompt_ids = prompt_ids
        self._readers: dict[int, PlaceReader] = {}
        self._echoed = last_text(body.messages) if body.echo and body.messages[-1].role == body.role else ""
        self._begun: set[int] = set()

    def whole(self, prompt: int, output: RequestOutput) -> Json:
        message = {"role": self._body.role, "content": self._echoed + output.text, **EMPTY_MESSAGE}
        return {**self._choice(output, {"message": message}), "routed_experts": None}

    def events(self, prompt: int, output: RequestOutput) -> list[Json]:
        events = [] if output.index in self._begun else self._first_events(output.index)
        self._begun.add(output.index)
        return [*events, self._choice(output, {"delta": {"content": output.text}})]

    def _first_events(self, index: int) -> list[Json]:
        deltas = [{"role": self._body.role, "content": ""}, *([{"content": self._echoed}] if self._echoed else [])]
        return [{"index": index, "delta": delta, "logprobs": None, "finish_reason": None} for delta in deltas]

    def _choice(self, output: RequestOutput, content: Json) -> Json:
        choice = {
            "index": output.index,
            **content,
            "logprobs": None,
            "finish_reason": reason(output),
        }
        if output.finish_reason is not None:
            choice["stop_reason"] = output.stop_reason
        if output.logprobs is not None and output.pieces is not None:
            reader = self._readers.get(output.index) or self._readers.setdefault(
                output.index, self._reader(self._prompt_ids)
            )
            places = reader.read(output.token_ids, output.logprobs, output.pieces)
            choice["logprobs"] = logprobs.of_chat(places, self._body.top_logprobs or 0, self._tokenizer.token_bytes)
        choice["token_ids"] = output.token_ids if self._body.return_token_ids else None
        return choice

    def prompt_logprobs(self, at: list[TokenLogprobs | None] | None) -> list[Json | None] | None:
        """Return the prompt's log-probabilities, which all choices share."""
        return None if at is None else logprobs.of_prompt(PlaceReader(self._tokenizer).read(self._prompt_ids, at))

    def _reader(self, before: Sequence[int]) -> PlaceReader:
        return PlaceReader(self._tokenizer, before, self._names_ids)


def _without_answer(output: RequestOutput) -> RequestOutput:
    """Drop the one token that the engine computes for a request with `max_tokens: 0`, which only scores its prompt."""
    empty: list[TokenLogprobs] | None = None if output.logprobs is None else []
    return replace(
        output, text="", token_ids=[], pieces=[], logprobs=empty, finish_reason=FinishReason.LENGTH, stop_reason=None
    )


def reason(output: RequestOutput) -> str | None:
    """Return the API's `finish_reason`."""
    return None if output.finish_reason is None else output.finish_reason.value
