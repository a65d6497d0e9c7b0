"""Continuous batching with chunked prefill: decodes and prefill chunks share one token budget per step.

There is no prefill phase and no decode phase. Every sequence has tokens that are not computed yet: a decode has one, a
new prompt has many. A step hands out its budget: first to decodes, so that no prompt makes them wait, then to prompts
that have started, then to waiting ones. A prompt that gets less than it needs continues in the next step: it is
chunked.

When blocks run out, the scheduler preempts a victim: it loses all its blocks and waits again. Later it is recomputed,
except for the prefix that is still cached, or swapped back in if host memory had room for its blocks.

Sources: vLLM's V1 scheduler; Agrawal et al., "Sarathi-Serve", 2024 (chunked prefill).
"""

from __future__ import annotations

from bisect import insort
from dataclasses import dataclass, field

from llm_engine.kv_cache.manager import KVCacheManager
from llm_engine.kv_cache.memory import BlockCopy
from llm_engine.scheduler.policies import Order, VictimPolicy, first_come_first_served, last_in_order
from llm_engine.scheduler.sequence import FinishReason, Sequence, Status

PROMPT_LOGPROBS_TOKENS = 128
"""Tokens per step of a prompt whose log-probabilities are wanted. Each needs a row of logits over the vocabulary, which
costs more than computing the token, and the other sequences wait meanwhile."""


@dataclass(frozen=True, slots=True)
class Preemption:
    """A sequence that gave back all its blocks so that another one could go on."""

    victim: Sequence
    needed_by: Sequence
    num_lost_tokens: int
    """Computed tokens whose KV is not kept in host memory."""


@dataclass(slots=True, eq=False)
class Step:
    """The plan of one step: how many tokens of each sequence it computes, and which sequences were preempted."""

    budget: int
    """Tokens that are still free."""
    num_tokens: dict[Sequence, int] = field(default_factory=dict)
    starts: dict[Sequence, int] = field(default_factory=dict)
    """Position of the first token that each sequence computes."""
    preempted: list[Preemption] = field(default_factory=list)
    admitted: list[Sequence] = field(default_factory=list)
    copies: list[BlockCopy] = field(default_factory=list)
    """Copies to make, in this order, before the forward pass."""

    @property
    def total_tokens(self) -> int:
        return sum(self.num_tokens.values())

    def take(self, sequence: Sequence, num_tokens: int) -> None:
        self.num_tokens[sequence] = num_tokens
        self.starts[sequence] = sequence.num_computed_tokens
        self.budget -= num_tokens

    def give_back(self, sequence: Sequence) -> None:
        self.budget += self.num_tokens.pop(sequence, 0)


class Scheduler:
    """The waiting and the running sequences, each sorted by `order`, most urgent first."""

    def __init__(
        self,
        kv_cache: KVCacheManager,
        max_num_seqs: int,
        max_num_batched_tokens: int,
        order: Order = first_come_first_served,
        *,
        select_victim: VictimPolicy = last_in_order,
    ) -> None:
        self.kv_cache = kv_cache
        self.max_num_seqs = max_num_seqs
        self.max_num_batched_tokens = max_num_batched_tokens
        self.waiting: list[Sequence] = []
        self.running: list[Sequence] = []
        self.order = order
        self._select_victim = select_victim

    @property
    def has_work(self) -> bool:
        return bool(self.waiting or self.running)

    def add(self, sequence: Sequence) -> None:
        """Queue a sequence. At its longest it must fit in an empty cache; the caller checks that."""
        sequence.status = Status.WAITING
        insort(self.waiting, sequence, key=self.order)

    def schedule(self) -> Step:
        """Plan the next step: running sequences first, then waiting ones, unless a sequence was preempted."""
        step = Step(self.max_num_batched_tokens)
        self._schedule_running(step)
        if not step.preempted:
            self._schedule_waiting(step)
        step.copies = self.kv_cache.take_copies()
        return step

    def advance(self, step: Step) -> None:
        """Count the tokens of a launched step as computed: all later steps come after it on the device."""
        for sequence, num_tokens in step.num_tokens.items():
            sequence.num_computed_tokens += num_tokens

    def commit(self, step: Step, num_rejected: dict[Sequence, int] | None = None) -> None:
        """Share the full blocks of a computed step and give back the room of rejected draft tokens."""
        for sequence, num_tokens in step.num_tokens.items():
            if sequence.status is Status.RUNNING:  # else it was preempted or finished in the meantime
                start = step.starts[sequence]
                rejected = (num_rejected or {}).get(sequence, 0)
                self.kv_cache.commit(sequence, start, start + num_tokens, rejected)

    def finish(self, sequence: Sequence, reason: FinishReason) -> None:
        """Remove the sequence, whatever its status, and free its blocks. Must not be called during a step."""
        if sequence.status is Status.FINISHED:
            return
        if sequence.status is not Status.NEW:
            (self.running if sequence.status is Status.RUNNING else self.waiting).remove(sequence)
        self.kv_cache.release(sequence)
        sequence.status = Status.FINISHED
        sequence.finish_reason = reason

    def _schedule_running(self, step: Step) -> None:
        decodes_first = sorted(self.running, key=lambda sequence: sequence.num_uncomputed_tokens > 1)
        for sequence in decodes_first:
            if step.budget == 0:
                return
            if sequence.status is not Status.RUNNING or sequence.is_full:
                continue  # preempted by a sequence before it, or about to end
            if sequence.draft_token_ids and self._schedule_drafts(sequence, step):
                continue
            num_tokens = _next_piece(sequence, step.budget)
            if self._make_room(sequence, num_tokens, step):
                step.take(sequence, num_tokens)

    def _schedule_drafts(self, sequence: Sequence, step: Step) -> bool:
        """Schedule the next token and its drafts if they all fit. Drafts never preempt another sequence."""
        num_tokens = sequence.num_uncomputed_tokens + len(sequence.draft_token_ids)
        if num_tokens <= step.budget and self.kv_cache.grow(sequence, num_tokens):
            step.take(sequence, num_tokens)
            return True
        sequence.draft_token_ids = []
        return False

    def _make_room(self, sequence: Sequence, num_tokens: int, step: Step) -> bool:
        """Preempt until the sequence's next tokens fit. Return False if it became the victim itself."""
        while not self.kv_cache.grow(sequence, num_tokens):
            victim = self._select_victim(self.running, self.order)
            self._preempt(victim, sequence, step)
            if victim is sequence:
                return False
        return True

    def _preempt(self, victim: Sequence, needed_by: Sequence, step: Step) -> None:
        num_computed = victim.num_computed_tokens
        self.running.remove(victim)
        self.kv_cache.preempt(victim)
        victim.status = Status.WAITING
        victim.num_preemptions += 1
        victim.draft_token_ids = []
        insort(self.waiting, victim, key=self.order)
        step.give_back(victim)
        step.preempted.append(Preemption(victim, needed_by, num_computed - victim.num_swapped_tokens))

    def _schedule_waiting(self, step: Step) -> None:
        while self.waiting and step.budget > 0 and len(self.running) < self.max_num_seqs:
            sequence = self.waiting[0]
            if not self.kv_cache.admit(sequence):
                return  # head-of-line blocking on purpose: if others could overtake, a large prompt would starve
            self.waiting.pop(0)
            sequence.status = Status.RUNNING
            insort(self.running, sequence, key=self.order)
            step.admitted.append(sequence)
            num_tokens = _next_piece(sequence, step.budget)
            self.kv_cache.grow(sequence, num_tokens)
            step.take(sequence, num_tokens)


def _next_piece(sequence: Sequence, budget: int) -> int:
    """Return how many tokens the sequence computes if only the budget limits it."""
    most = min(budget, PROMPT_LOGPROBS_TOKENS) if sequence.wants_prompt_logprobs else budget
    return min(sequence.num_uncomputed_tokens, most)
