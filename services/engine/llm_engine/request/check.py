"""Checks whether the model can ever serve a request, before it is queued."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from llm_engine.errors import ContextLengthError, RequestError
from llm_engine.sampling.params import SamplingParams

MAX_SHOWN = 10
"""Wrong tokens that an error message lists."""
MAX_CHOICES = 128
"""Largest `n` of one request; OpenAI's limit."""


@dataclass(frozen=True, slots=True)
class RequestCheck:
    """The limits of one model and server, which every request must respect."""

    vocab_size: int
    max_model_len: int
    max_logprobs: int

    def __call__(self, prompt_ids: list[int], params: SamplingParams) -> None:
        """Raise RequestError for the first problem of a request."""
        self.check_prompt(prompt_ids)
        if params.n > MAX_CHOICES:
            raise RequestError(f"n is {params.n}; it must be at most {MAX_CHOICES}", "n")
        self._check_length(len(prompt_ids), params.max_tokens)
        self._check_tokens(params)
        self._check_logprobs(params)

    def check_prompt(self, prompt_ids: list[int]) -> None:
        """Raise RequestError if the prompt is empty, too long or has unknown tokens."""
        if not prompt_ids:
            raise RequestError("the prompt is empty; it must hold at least one token", "prompt")
        self._check_length(len(prompt_ids), None)
        self.check_ids(prompt_ids, "prompt")

    def check_ids(self, token_ids: Collection[int], name: str) -> None:
        """Raise RequestError if a token of the field `name` is out of vocabulary."""
        if not token_ids or 0 <= min(token_ids) <= max(token_ids) < self.vocab_size:
            return
        wrong = [token for token in token_ids if not 0 <= token < self.vocab_size]
        shown = f"{', '.join(map(str, wrong[:MAX_SHOWN]))}{', …' if len(wrong) > MAX_SHOWN else ''}"
        raise RequestError(
            f"{name} has tokens that are out of vocabulary: {shown}; the vocabulary has {self.vocab_size} ids, from 0",
            name,
        )

    def check_size(self, text: str, longest_token: int) -> None:
        """Raise ContextLengthError, before tokenising, if the text has more characters than fit (vLLM's rule)."""
        most = self.max_model_len * longest_token
        if len(text) > most:
            raise ContextLengthError(
                f"this model's maximum context length is {self.max_model_len} tokens, which hold at most {most} "
                f"characters, but the prompt has {len(text)}; shorten it",
                "prompt",
            )

    def _check_length(self, num_prompt_tokens: int, max_tokens: int | None) -> None:
        """Check the lengths. Output ends with the context in any case, so only more than a whole context is refused."""
        limit = f"This model's maximum context length is {self.max_model_len} tokens. However, "
        if num_prompt_tokens >= self.max_model_len:
            raise ContextLengthError(
                f"{limit}your prompt contains {num_prompt_tokens} input tokens, which leaves no room for output. "
                f"Please reduce the length of the input prompt.",
                "prompt",
            )
        if max_tokens is not None and max_tokens > self.max_model_len:
            raise ContextLengthError(
                f"{limit}{max_tokens} output tokens were requested. Please request fewer output tokens.", "max_tokens"
            )

    def _check_tokens(self, params: SamplingParams) -> None:
        named = {
            "stop_token_ids": params.stop_token_ids,
            "allowed_token_ids": params.allowed_token_ids or (),
            "logit_bias": params.logit_bias,
        }
        for name, tokens in named.items():
            if len(tokens) > self.vocab_size:
                raise RequestError(f"{name} has {len(tokens)} tokens; the vocabulary has {self.vocab_size}", name)
            self.check_ids(tokens, name)

    def _check_logprobs(self, params: SamplingParams) -> None:
        """Check the number of log-probabilities. -1 is the whole vocabulary, as in vLLM, here and in --max-logprobs."""
        allowed = self.vocab_size if self.max_logprobs == -1 else self.max_logprobs
        for name, asked in (("logprobs", params.logprobs), ("prompt_logprobs", params.prompt_logprobs)):
            if asked is not None and (self.vocab_size if asked == -1 else asked) > allowed:
                raise RequestError(
                    f"{name} is {'-1, the whole vocabulary' if asked == -1 else asked}; --max-logprobs allows at "
                    f"most {allowed}",
                    name,
                )
