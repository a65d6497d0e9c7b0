"""Speculative decoding: guess the next tokens cheaply, verify all guesses in one step of the model.

A step of a small batch reads all weights to compute one token a sequence; computing five costs hardly more. So each
decode gets, beside its last token, up to k guesses; `rejection` keeps those that the model would have written, and the
step still yields at least one token. Two ways to guess:

    ngram         the tokens that followed when the last few tokens occurred before: free, good at repetition
    draft_model   a smaller model with the same tokens, which runs k times
"""

from __future__ import annotations

import time
from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from typing import Any, Literal, Protocol

from llm_engine.errors import EngineError
from llm_engine.sampling.sampler import Sampled
from llm_engine.scheduler.sequence import Sequence


@dataclass(frozen=True, slots=True)
class SpeculativeConfig:
    """`--speculative-config`, a JSON object; names are vLLM's."""

    num_speculative_tokens: int
    method: Literal["ngram", "draft_model"] = "ngram"
    model: str | None = None
    """The draft model's folder."""
    prompt_lookup_max: int = 4
    """Longest run of tokens that is looked for."""
    prompt_lookup_min: int = 2

    @classmethod
    def parse(cls, values: dict[str, Any]) -> SpeculativeConfig:
        known = {item.name for item in fields(cls)}
        if unknown := sorted(values.keys() - known):
            raise EngineError(f"speculative_config: unknown {', '.join(unknown)}; known are {', '.join(sorted(known))}")
        if "num_speculative_tokens" not in values:
            raise EngineError("speculative_config lacks num_speculative_tokens, the number of guesses in one step")
        if values.get("model") and "method" not in values:
            values = {**values, "method": "draft_model"}
        return cls(**values)

    def __post_init__(self) -> None:
        if self.num_speculative_tokens < 1:
            raise EngineError(f"num_speculative_tokens is {self.num_speculative_tokens}; it must be at least 1")
        if self.method not in ("ngram", "draft_model"):
            raise EngineError(f"speculative_config: method is {self.method!r}; it must be ngram or draft_model")
        if (self.method == "draft_model") != (self.model is not None):
            raise EngineError("speculative_config: method draft_model needs a model, and ngram takes none")
        if not 1 <= self.prompt_lookup_min <= self.prompt_lookup_max:
            raise EngineError("speculative_config: prompt_lookup_min must lie within 1 and prompt_lookup_max")


class Proposer(Protocol):
    def __call__(self, sequence: Sequence, count: int) -> list[int]:
        """Up to `count` guesses of the tokens that follow, or places for guesses that come later."""
        ...


@dataclass(slots=True)
class SpeculationStats:
    num_drafts: int = 0
    """Verifications of at least one guess."""
    num_draft_tokens: int = 0
    accepted_by_position: list[int] = field(default_factory=list)
    draft_seconds: float = 0.0
    """Time that guessing took, on the host's clock."""


class Speculation:
    """Says before each step what is guessed, and counts after it what was right."""

    def __init__(self, propose: Proposer, num_tokens: int, stats: SpeculationStats | None = None) -> None:
        self.stats = stats or SpeculationStats()
        self.stats.accepted_by_position = [0] * num_tokens
        self._propose = propose
        self._num_tokens = num_tokens

    def prepare(self, running: Iterable[Sequence]) -> None:
        begun = time.monotonic()
        for sequence in running:
            count = self._most(sequence)
            sequence.draft_probabilities = None
            try:
                sequence.draft_token_ids = self._propose(sequence, count) if count > 0 else []
            except Exception as error:  # noqa: BLE001 - it ends this request alone
                sequence.draft_token_ids, sequence.error = [], error
        self.stats.draft_seconds += time.monotonic() - begun

    def observe(self, sampled: Iterable[Sampled]) -> None:
        for item in sampled:
            if item.num_drafts:
                self.stats.num_drafts += 1
                self.stats.num_draft_tokens += item.num_drafts
                for position in range(len(item.token_ids) - 1):
                    self.stats.accepted_by_position[position] += 1

    def _most(self, sequence: Sequence) -> int:
        """No guesses in a prompt, past the end, or where logits depend on every token before (penalties, grammars)."""
        if sequence.num_uncomputed_tokens != 1 or sequence.params.depends_on_output:
            return 0
        return min(self._num_tokens, sequence.max_num_tokens - sequence.num_tokens - 1)


def propose_ngram(sequence: Sequence, count: int, longest: int, shortest: int) -> list[int]:
    """Propose the tokens that followed the sequence's last tokens where they occurred before, longest match first.

    Source: Saxena, "Prompt Lookup Decoding", 2023.
    """
    tokens = sequence.token_ids
    text = array("i", tokens).tobytes()
    width = len(text) // len(tokens)
    for size in range(min(longest, len(tokens) - 1), shortest - 1, -1):
        start = _find_aligned(text, text[-size * width :], width)
        if start >= 0:
            follow = start // width + size
            return tokens[follow : follow + count]
    return []


def _find_aligned(text: bytes, wanted: bytes, width: int) -> int:
    """The last place before the end where `wanted` begins on a token's boundary; -1: nowhere."""
    end = len(text) - 1
    while (start := text.rfind(wanted, 0, end)) >= 0:
        if start % width == 0:
            return start
        end = start + len(wanted) - 1
    return -1
