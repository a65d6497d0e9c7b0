"""The outputs of a step for one request, and the result of a whole generation."""

from __future__ import annotations

from dataclasses import dataclass

from llm_engine.sampling.logprobs import TokenLogprobs
from llm_engine.scheduler.sequence import FinishReason


@dataclass(slots=True, kw_only=True)
class RequestOutput:
    """The text and tokens of one answer since its last output."""

    request_id: str
    text: str
    token_ids: list[int]
    num_prompt_tokens: int
    num_output_tokens: int
    """All tokens so far."""
    num_cached_tokens: int
    index: int = 0
    """Index of the answer, 0 to n - 1."""
    finish_reason: FinishReason | None = None
    stop_reason: int | str | None = None
    """The stop token or stop string that ended the answer."""
    logprobs: list[TokenLogprobs] | None = None
    """One for each of `token_ids`."""
    pieces: list[str] | None = None
    """With `logprobs`, the text of each of `token_ids`. All pieces of an answer join to its text."""
    prompt_logprobs: list[TokenLogprobs | None] | None = None
    error: Exception | None = None
    """The error that ended the request, with all its answers. This is then its last output."""


@dataclass(slots=True)
class CompletionOutput:
    """One answer to a prompt."""

    index: int
    text: str
    token_ids: list[int]
    finish_reason: FinishReason
    logprobs: list[TokenLogprobs] | None = None


@dataclass(slots=True)
class Completion:
    """A prompt and everything generated for it."""

    prompt: str | None
    prompt_token_ids: list[int]
    outputs: list[CompletionOutput]
    num_cached_tokens: int
    prompt_logprobs: list[TokenLogprobs | None] | None = None

    @property
    def text(self) -> str:
        """The text of the first answer."""
        return self.outputs[0].text

    @property
    def token_ids(self) -> list[int]:
        return self.outputs[0].token_ids

    @property
    def finish_reason(self) -> FinishReason:
        return self.outputs[0].finish_reason
