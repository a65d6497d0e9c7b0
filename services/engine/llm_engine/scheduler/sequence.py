"""One request inside the engine: its tokens, the KV blocks it owns, and how far it has been computed."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import KW_ONLY, dataclass, field
from enum import Enum, StrEnum, auto
from typing import TYPE_CHECKING

from llm_engine.sampling.params import SamplingParams
from llm_engine.scheduler.placeholders import is_placeholder

if TYPE_CHECKING:
    from torch import Tensor

    from llm_engine.sampling.logprobs import TokenLogprobs
    from llm_engine.structured.grammar import Grammar


class Status(Enum):
    """The state of a sequence in the scheduler."""

    NEW = auto()
    """Not queued yet."""
    WAITING = auto()
    RUNNING = auto()
    FINISHED = auto()


class FinishReason(StrEnum):
    """The reason why an answer ended; the values are the API's."""

    STOP = "stop"
    LENGTH = "length"
    ABORT = "abort"
    ERROR = "error"


@dataclass(slots=True, eq=False)
class Progress:
    """Facts about a sequence that only its trace needs; `observers.progress` fills them in."""

    num_prefill_steps: int = 0
    """Steps up to its first token: more than 1 if the prompt was chunked or the sequence preempted."""
    events: list[tuple[str, float]] = field(default_factory=list)
    """(preempted or resumed, time on the monotonic clock)"""
    num_drafts: int = 0
    num_accepted_drafts: int = 0


@dataclass(slots=True, eq=False)
class Sequence:
    """One answer to one request. `block_table` holds the KV of exactly the first `num_computed_tokens` tokens.

    A decode has one uncomputed token: the one sampled last. A preempted sequence keeps its tokens, sampled ones
    included. It starts again with no computed token, or with those whose KV was swapped to the host.
    """

    request_id: str
    token_ids: list[int]
    """The prompt, then the output. The last one can be a placeholder: see `placeholders`."""
    params: SamplingParams
    _: KW_ONLY
    index: int = 0
    """Which of the request's n answers this is."""
    leader: Sequence | None = None
    """Answer 0 of the same request, whose prompt blocks this one shares."""
    arrival: int = 0
    """Running number in order of arrival."""
    priority: int = 0
    """The lowest number is served first, under `--scheduling-policy priority`."""
    trace_id: str | None = None
    """Trace id of the caller, which joins this sequence to the client's and the gateway's records."""
    arrival_time: float = 0.0
    max_num_tokens: int = sys.maxsize
    """Longest prompt plus output."""
    num_prompt_tokens: int = field(init=False)
    status: Status = Status.NEW
    finish_reason: FinishReason | None = None
    num_computed_tokens: int = 0
    num_cached_tokens: int = 0
    """Tokens that the prefix cache held when the sequence was first admitted."""
    block_table: list[int] = field(default_factory=list)
    """Ids of the blocks that hold its KV, in token order."""
    block_hashes: list[bytes] = field(default_factory=list)
    """Chained hashes of the full blocks of `token_ids`, as far as they were needed."""
    table_version: int = 0
    """Incremented when `block_table` changes in any way other than by blocks appended to it."""
    host_blocks: list[int] = field(default_factory=list)
    """Ids of the host blocks of a swapped sequence. Empty if its KV has to be recomputed."""
    num_swapped_tokens: int = 0
    """Tokens whose KV is in `host_blocks`."""
    draft_token_ids: list[int] = field(default_factory=list)
    """Guesses of the next tokens, which the coming step verifies."""
    draft_probabilities: Tensor | None = None
    """[drafts, vocabulary] Distribution from which each guess was drawn. None: the guesses were not drawn."""
    prompt_logprobs: list[TokenLogprobs | None] = field(default_factory=lambda: [None])
    """Log-probabilities of each prompt token given the tokens before it, as far as computed, if the request asks."""
    bad_word_ids: list[list[int]] = field(default_factory=list)
    grammar: Grammar | None = None
    error: Exception | None = None
    """The error for which the step in flight gives it no token. The engine ends its request when it reads the step."""
    num_preemptions: int = 0
    first_scheduled_time: float | None = None
    first_token_time: float | None = None
    last_token_time: float | None = None
    progress: Progress | None = None
    """None unless its request is traced."""

    def __post_init__(self) -> None:
        self.num_prompt_tokens = len(self.token_ids)

    @contextmanager
    def blamed(self) -> Iterator[None]:
        """Record an error raised in the enclosed lines as this sequence's `error`."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - no error may reach the other requests
            self.error = self.error or error

    @property
    def ids(self) -> dict[str, str | None]:
        """The ids that a log line about it carries."""
        return {"request_id": self.request_id.rpartition("#")[0] or self.request_id, "trace_id": self.trace_id}

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
    def ends_in_placeholder(self) -> bool:
        """Whether the last token is still being drawn."""
        return is_placeholder(self.token_ids[-1])

    @property
    def is_full(self) -> bool:
        """Whether its last token is known or being drawn."""
        return len(self.token_ids) >= self.max_num_tokens
