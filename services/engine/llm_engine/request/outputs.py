"""Outputs of a step for one request, and the result of a whole generation."""

from __future__ import annotations

from dataclasses import dataclass

from llm_engine.sampling.logprobs import TokenLogprobs
from llm_engine.scheduler.sequence import FinishReason


@dataclass(slots=True, kw_only=True)
class RequestOutput:
    """News since the last output of the same request."""

    request_id: str
    text: str
    token_ids: list[int]
    num_prompt_tokens: int
    num_output_tokens: int
    """All so far."""
    num_cached_tokens: int
    index: int = 0
    """Which of the n answers."""
    finish_reason: FinishReason | None = None
    stop_reason: int | str | None = None
    """The stop token or stop string that ended it."""
    logprobs: list[TokenLogprobs] | None = None
    """One for each of `token_ids`."""
    pieces: list[str] | None = None
    """With `logprobs`, the text that each of `token_ids` adds. Over a whole answer they join to its text."""
    prompt_logprobs: list[TokenLogprobs | None] | None = None
    error: Exception | None = None
    """Why the request failed; then this is its last output, whichever of its answers it belongs to."""


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
        """The first answer's."""
        return self.outputs[0].text

    @property
    def token_ids(self) -> list[int]:
        return self.outputs[0].token_ids

    @property
    def finish_reason(self) -> FinishReason:
        return self.outputs[0].finish_reason
