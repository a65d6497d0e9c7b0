"""Speculative decoding: guess the next tokens cheaply, and verify all guesses in one step of the model.

A step with a small batch reads all weights to compute one token per sequence; computing five costs hardly more. So each
decode computes up to k guesses together with its last token. `rejection` accepts the guesses that the model would have
written, and the step yields at least one token in any case. There are two ways to guess:

    ngram         find the last few tokens earlier in the text and propose their continuation: free, good at repetition
    draft_model   run a smaller model with the same vocabulary k times
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
    """The JSON object of `--speculative-config`. Names are vLLM's. EngineError if it is wrong."""

    num_speculative_tokens: int
    """Guesses per step."""
    method: Literal["ngram", "draft_model"] = "ngram"
    model: str | None = None
    """The draft model's folder."""
    prompt_lookup_max: int = 4
    """Most tokens of an n-gram."""
    prompt_lookup_min: int = 2
    """Fewest tokens of an n-gram."""

    @classmethod
    def parse(cls, values: dict[str, Any]) -> SpeculativeConfig:
        known = {item.name for item in fields(cls)}
        if unknown := sorted(values.keys() - known):
            raise EngineError(f"speculative_config: unknown {', '.join(unknown)}; allowed: {', '.join(sorted(known))}")
        if "num_speculative_tokens" not in values:
            raise EngineError("speculative_config lacks num_speculative_tokens, the number of guesses per step")
        if values.get("model") and "method" not in values:
            values = {**values, "method": "draft_model"}
        return cls(**values)

    def __post_init__(self) -> None:
        if self.num_speculative_tokens < 1:
            raise EngineError(f"num_speculative_tokens is {self.num_speculative_tokens}; it must be at least 1")
        if self.method not in ("ngram", "draft_model"):
            raise EngineError(f"speculative_config: method is {self.method!r}; it must be ngram or draft_model")
        if (self.method == "draft_model") != (self.model is not None):
            raise EngineError("speculative_config: method draft_model needs a model; method ngram takes none")
        if not 1 <= self.prompt_lookup_min <= self.prompt_lookup_max:
            raise EngineError("speculative_config: prompt_lookup_min must be from 1 to prompt_lookup_max")


class Proposer(Protocol):
    """A way to guess tokens."""

    def __call__(self, sequence: Sequence, count: int) -> list[int]:
        """Return up to `count` guesses of the next tokens, or dummies to be replaced before the step."""
        ...


@dataclass(slots=True)
class SpeculationStats:
    """Counts since the start."""

    num_drafts: int = 0
    """Verifications of at least one guess."""
    num_draft_tokens: int = 0
    """Guesses verified."""
    accepted_by_position: list[int] = field(default_factory=list)
    """Guesses accepted, by position in the draft."""
    draft_seconds: float = 0.0
    """Time spent on guessing, by the host's clock. A graph guesses and verifies in one: its time is not included."""


class Speculation:
    """The guesses before each step, and the count of accepted ones after it."""

    def __init__(self, propose: Proposer, num_tokens: int, stats: SpeculationStats | None = None) -> None:
        self.stats = stats or SpeculationStats()
        self.stats.accepted_by_position = [0] * num_tokens
        self._propose = propose
        self._num_tokens = num_tokens

    def prepare(self, running: Iterable[Sequence]) -> None:
        """Propose drafts for the running sequences."""
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
        """Count the drafts that a step verified."""
        for item in sampled:
            if item.num_drafts:
                self.stats.num_drafts += 1
                self.stats.num_draft_tokens += item.num_drafts
                for position in range(len(item.token_ids) - 1):
                    self.stats.accepted_by_position[position] += 1

    def _most(self, sequence: Sequence) -> int:
        """Return how many guesses the sequence can use.

        It can use none in a prompt, none past the end, and none if penalties, bad words or a grammar apply, because
        logits then depend on every token before.
        """
        if sequence.num_uncomputed_tokens != 1 or sequence.params.depends_on_output:
            return 0
        return min(self._num_tokens, sequence.max_num_tokens - sequence.num_tokens - 1)


def propose_ngram(sequence: Sequence, count: int, longest: int, shortest: int) -> list[int]:
    """Propose the tokens that followed an earlier occurrence of the sequence's last tokens, longest match first.

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
    """Return the last index before the end where `wanted` starts on a token boundary, or -1."""
    end = len(text) - 1
    while (start := text.rfind(wanted, 0, end)) >= 0:
        if start % width == 0:
            return start
        end = start + len(wanted) - 1
    return -1
