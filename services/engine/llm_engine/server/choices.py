"""An output of the engine as the `choices` of a response: the same object, whole or as an event of a stream."""

from __future__ import annotations

from typing import Any

from llm_engine.checkpoint.tokenizer import Tokenizer
from llm_engine.logprobs import TokenLogprobs
from llm_engine.outputs import RequestOutput
from llm_engine.server import logprobs
from llm_engine.server.async_engine import Submission
from llm_engine.server.requests import EngineChatRequest, EngineCompletionRequest

Json = dict[str, Any]


class TextChoices:
    """Completions. Remembers, for each choice, how much text its log-probabilities have covered."""

    def __init__(self, body: EngineCompletionRequest, submissions: list[Submission], tokenizer: Tokenizer) -> None:
        self._body = body
        self._submissions = submissions
        self._tokenizer = tokenizer
        self._offsets: dict[int, int] = {}

    def whole(self, prompt: int, output: RequestOutput) -> Json:
        index = prompt * self._body.n + output.index
        first = index not in self._offsets
        choice = {
            "index": index,
            "text": self._prompt_text(prompt) + output.text if first and self._body.echo else output.text,
            "logprobs": self._logprobs(index, prompt, output, first),
            "finish_reason": reason(output),
            "stop_reason": output.stop_reason,
        }
        self._offsets.setdefault(index, 0)
        if output.prompt_logprobs is not None and not self._body.stream:
            choice["prompt_logprobs"] = logprobs.of_prompt(output.prompt_logprobs, self._tokenizer.decode_one)
        if self._body.return_token_ids:
            choice["token_ids"] = output.token_ids
            choice["prompt_token_ids"] = self._submissions[prompt].prompt_ids if first else None
        return choice

    def events(self, prompt: int, output: RequestOutput) -> list[Json]:
        return [self.whole(prompt, output)]

    def _logprobs(self, index: int, prompt: int, output: RequestOutput, first: bool) -> Json | None:
        if output.logprobs is None or self._body.logprobs is None:
            return None
        tokens: list[int] = output.token_ids
        values: list[TokenLogprobs | None] = list(output.logprobs)
        if first and self._body.echo:
            tokens = [*self._submissions[prompt].prompt_ids, *tokens]
            values = [*(output.prompt_logprobs or []), *values]
        decode, offset = self._tokenizer.decode_one, self._offsets.get(index, 0)
        self._offsets[index] = offset + sum(len(decode(token)) for token in tokens)
        return logprobs.of_completion(tokens, values, self._body.logprobs, decode, offset)

    def _prompt_text(self, prompt: int) -> str:
        return self._tokenizer.decode(self._submissions[prompt].prompt_ids)


class ChatChoices:
    """Chat. The first event of a choice names the role and has no text, as OpenAI's does."""

    def __init__(self, body: EngineChatRequest, tokenizer: Tokenizer) -> None:
        self._body = body
        self._tokenizer = tokenizer
        # As vLLM: without a generation prompt the last speaker goes on.
        self._role = "assistant" if body.add_generation_prompt else body.messages[-1].role
        self._begun: set[int] = set()

    def whole(self, prompt: int, output: RequestOutput) -> Json:
        return self._choice(output, {"message": {"role": self._role, "content": output.text}})

    def events(self, prompt: int, output: RequestOutput) -> list[Json]:
        begin = {"delta": {"role": self._role, "content": ""}, "logprobs": None, "finish_reason": None}
        events = [] if output.index in self._begun else [{"index": output.index, **begin}]
        self._begun.add(output.index)
        delta = {"content": output.text} if output.text else {}
        return [*events, self._choice(output, {"delta": delta})]

    def _choice(self, output: RequestOutput, content: Json) -> Json:
        choice = {
            "index": output.index,
            **content,
            "logprobs": None,
            "finish_reason": reason(output),
            "stop_reason": output.stop_reason,
        }
        if output.logprobs is not None:
            count = self._body.top_logprobs or 0
            choice["logprobs"] = logprobs.of_chat(output.token_ids, output.logprobs, count, self._tokenizer.decode_one)
        if self._body.return_token_ids:
            choice["token_ids"] = output.token_ids
        return choice


def reason(output: RequestOutput) -> str | None:
    return None if output.finish_reason is None else output.finish_reason.value
