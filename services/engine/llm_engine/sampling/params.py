"""Sampling parameters: how a request chooses its tokens and when it ends. Names and defaults are vLLM's."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from llm_engine.errors import RequestError
from llm_engine.structured.params import StructuredOutputs

GREEDY_BELOW = 1e-5
"""Temperatures below this mean greedy: dividing by them would overflow."""
MAX_BIAS = 100.0
"""Largest absolute value of a logit bias."""
MAX_STOPS = 4
"""Stop strings of one request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingParams:
    """The sampling parameters of one request. RequestError if one is out of range."""

    temperature: float = 1.0
    """0: greedy."""
    top_p: float = 1.0
    top_k: int = 0
    """0 or -1: off."""
    min_p: float = 0.0
    seed: int | None = None
    """With a seed, the output depends on the prompt and the parameters only, not on the batch."""
    max_tokens: int | None = 16
    """None: until the context is full."""
    min_tokens: int = 0
    """Shortest answer: before it, no end-of-text token, stop token or stop string ends the answer."""
    stop: tuple[str, ...] = ()
    stop_token_ids: tuple[int, ...] = ()
    ignore_eos: bool = False
    include_stop_str_in_output: bool = False
    skip_special_tokens: bool = True
    """Leave special tokens out of the text."""
    n: int = 1
    """Number of answers. The prompt is computed once for all of them."""
    logprobs: int | None = None
    """Number of most likely tokens to report at each output position, besides the chosen one; -1: all."""
    prompt_logprobs: int | None = None
    """The same at each prompt position."""
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    """Token id -> value added to its logit, clamped to -100 … 100 as in vLLM."""
    allowed_token_ids: tuple[int, ...] | None = None
    bad_words: tuple[str, ...] = ()
    structured: StructuredOutputs | None = None
    has_penalties: bool = field(init=False)
    edits_logits: bool = field(init=False)
    """Whether `logits_processors` has to change the logits."""

    def __post_init__(self) -> None:
        self._check_range()
        self._check_end()
        bias = {token: min(MAX_BIAS, max(-MAX_BIAS, value)) for token, value in self.logit_bias.items()}
        object.__setattr__(self, "logit_bias", bias)
        penalties = (self.repetition_penalty, self.presence_penalty, self.frequency_penalty) != (1.0, 0.0, 0.0)
        edits = penalties or bool(self.logit_bias or self.bad_words) or self.allowed_token_ids is not None
        object.__setattr__(self, "has_penalties", penalties)
        object.__setattr__(self, "edits_logits", edits or self.min_tokens > 0)

    @property
    def is_greedy(self) -> bool:
        return self.temperature < GREEDY_BELOW

    @property
    def depends_on_output(self) -> bool:
        """Whether the sampler edits logits depending on the output so far: penalties, bad words, a grammar."""
        return self.has_penalties or bool(self.bad_words) or self.structured is not None

    def for_choice(self, index: int) -> SamplingParams:
        """Return the parameters of answer `index` of n: its own seed, and no prompt log-probabilities."""
        seed = None if self.seed is None else self.seed + index
        return replace(self, n=1, seed=seed, prompt_logprobs=None)

    def _check_range(self) -> None:
        _require(0 <= self.temperature <= 2, "temperature", self.temperature, "from 0 to 2")
        _require(0 < self.top_p <= 1, "top_p", self.top_p, "over 0 and at most 1")
        _require(self.top_k >= -1, "top_k", self.top_k, "at least 1, or 0 or -1 for off")
        _require(0 <= self.min_p <= 1, "min_p", self.min_p, "from 0 to 1")
        _require(-2 <= self.presence_penalty <= 2, "presence_penalty", self.presence_penalty, "from -2 to 2")
        _require(-2 <= self.frequency_penalty <= 2, "frequency_penalty", self.frequency_penalty, "from -2 to 2")
        repetition = self.repetition_penalty
        _require(0 < repetition < math.inf, "repetition_penalty", repetition, "over 0 and finite")
        _require(all(map(math.isfinite, self.logit_bias.values())), "logit_bias", "infinite or no number", "finite")
        for name in ("logprobs", "prompt_logprobs"):
            value = getattr(self, name)
            _require(value is None or value >= -1, name, value, "at least 0, or -1 for all")

    def _check_end(self) -> None:
        _require(self.n >= 1, "n", self.n, "at least 1")
        _require(self.max_tokens is None or self.max_tokens >= 1, "max_tokens", self.max_tokens, "at least 1")
        _require(self.min_tokens >= 0, "min_tokens", self.min_tokens, "at least 0")
        if self.max_tokens is not None:
            _require(self.min_tokens <= self.max_tokens, "min_tokens", self.min_tokens, "at most max_tokens")
        _require(len(self.stop) <= MAX_STOPS, "stop", f"{len(self.stop)} strings", f"at most {MAX_STOPS}, as in vLLM")
        _require(all(self.stop), "stop", list(self.stop), "free of empty strings")
        _require(all(self.bad_words), "bad_words", list(self.bad_words), "free of empty strings")
        _require(self.allowed_token_ids != (), "allowed_token_ids", [], "at least one token")


def _require(holds: bool, name: str, value: object, allowed: str) -> None:
    if not holds:
        raise RequestError(f"{name} is {value}; it must be {allowed}", param=name)
