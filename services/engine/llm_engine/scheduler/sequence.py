"""One request inside the engine: its tokens, the KV blocks it owns, and how far it has been computed."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import KW_ONLY, dataclass, field
from enum import Enum, StrEnum, auto
from typing import TYPE_CHECKING

from llm_engine.sampling.params import SamplingParams

if TYPE_CHECKING:
    from torch import Tensor

    from llm_engine.sampling.logprobs import TokenLogprobs
    from llm_engine.structured.grammar import Grammar


class Status(Enum):
    NEW = auto()
    """Not with the scheduler yet."""
    WAITING = auto()
    RUNNING = auto()
    FINISHED = auto()


class FinishReason(StrEnum):
    STOP = "stop"
    LENGTH = "length"
    ABORT = "abort"
    ERROR = "error"


@dataclass(slots=True, eq=False)
class Sequence:
    """`num_computed_tokens <= len(token_ids)`; the KV of exactly the computed tokens lies in `block_table`.

    A running decode has one uncomputed token, the one sampled last. A preempted sequence keeps its tokens, sampled
    ones included, and starts again with none computed, or with those whose KV was swapped to the host.
    """

    request_id: str
    token_ids: list[int]
    """The prompt, then the output. A last one below 0 is still being drawn: see `overlap`."""
    params: SamplingParams
    _: KW_ONLY
    index: int = 0
    """Which of the request's n answers this is."""
    leader: Sequence | None = None
    """Answer 0 of the same request, whose prompt blocks this one shares."""
    arrival: int = 0
    """Running number; the order of arrival."""
    priority: int = 0
    """Lower is sooner."""
    trace_id: str | None = None
    """The caller's, which joins this sequence to the client's and the gateway's records."""
    arrival_time: float = 0.0
    max_num_tokens: int = sys.maxsize
    """Prompt and output at their longest."""
    num_prompt_tokens: int = field(init=False)
    status: Status = Status.NEW
    finish_reason: FinishReason | None = None
    num_computed_tokens: int = 0
    num_cached_tokens: int = 0
    """Prompt tokens that the prefix cache held when the sequence was first admitted."""
    block_table: list[int] = field(default_factory=list)
    """Block ids, in the order of the tokens."""
    block_hashes: list[bytes] = field(default_factory=list)
    """Chained hashes of the full blocks of `token_ids`, as far as anybody asked."""
    table_version: int = 0
    """Grows whenever `block_table` changes otherwise than by blocks at its end."""
    host_blocks: list[int] = field(default_factory=list)
    """Host memory blocks of a preempted sequence; empty if its KV is computed again."""
    num_swapped_tokens: int = 0
    """Tokens whose KV is in `host_blocks`."""
    draft_token_ids: list[int] = field(default_factory=list)
    """Guesses of the next tokens, to be verified in the coming step."""
    draft_probabilities: Tensor | None = None
    """[drafts, vocabulary] What each guess was drawn from; None: it was not drawn."""
    prompt_logprobs: list[TokenLogprobs | None] = field(default_factory=lambda: [None])
    """Log-probabilities of each prompt token given those before it, as far as computed; if asked for."""
    bad_word_ids: list[list[int]] = field(default_factory=list)
    grammar: Grammar | None = None
    error: Exception | None = None
    """Why the step under way cannot give this sequence a token; the engine ends its request when the step is read."""
    num_preemptions: int = 0
    first_scheduled_time: float | None = None
    first_token_time: float | None = None
    last_token_time: float | None = None

    def __post_init__(self) -> None:
        self.num_prompt_tokens = len(self.token_ids)

    @contextmanager
    def blamed(self) -> Iterator[None]:
        """Note an error of the enclosed lines as this sequence's own."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - whatever it is, it must not reach the other requests
            self.error = self.error or error

    @property
    def is_over(self) -> bool:
        return self.finish_reason is not None

    @property
    def wants_prompt_logprobs(self) -> bool:
        return self.params.prompt_logprobs is not None and len(self.prompt_logprobs) < self.num_prompt_tokens

    @property
    def num_tokens(self) -> int:
        return len(self.token_ids)

    @property
    def num_output_tokens(self) -> int:
        return len(self.token_ids) - self.num_prompt_tokens

    @property
    def num_uncomputed_tokens(self) -> int:
        return len(self.token_ids) - self.num_computed_tokens

    @property
    def is_full(self) -> bool:
        """Its last token is there, or being drawn."""
        return len(self.token_ids) >= self.max_num_tokens
