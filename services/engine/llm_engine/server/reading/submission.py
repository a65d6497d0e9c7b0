"""A submission: one prompt of a request, ready for the engine."""

from __future__ import annotations

from dataclasses import dataclass

from llm_engine.sampling.params import SamplingParams

LONG_PREPARATION_TOKENS = 50_000
"""Number of prompt tokens, counted once per answer, whose copies take about a millisecond."""


@dataclass(frozen=True, slots=True)
class Submission:
    """The tokens and sampling parameters of one prompt."""

    prompt_ids: list[int]
    params: SamplingParams
    pieces: list[str] | None = None
    """The piece of the prompt's text that each token covers, if the answer has to repeat the prompt."""

    @property
    def is_slow_to_prepare(self) -> bool:
        """Whether preparing it would delay the event loop and its streams."""
        many = self.params.n * len(self.prompt_ids) > LONG_PREPARATION_TOKENS
        return many or self.params.structured is not None or bool(self.params.bad_words)
