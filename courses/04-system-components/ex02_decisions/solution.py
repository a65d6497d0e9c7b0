"""A log of what the scheduler decides about each sequence, and why.

A step says which sequences get tokens. It does not say why the others get none, and that is what people ask: why does
this request wait? The observer sees the scheduler right after it has planned a step, and can work the reason out.

    log = DecisionLog(decisions.append)
    engine = Engine(config, observers=[log])
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from collections.abc import Sequence as Ordered
from dataclasses import KW_ONLY, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from llm_engine.sampling.sampler import Sampled
from llm_engine.scheduler.scheduler import PROMPT_LOGPROBS_TOKENS, Scheduler, Step
from llm_engine.scheduler.sequence import Sequence

if TYPE_CHECKING:
    from llm_engine.observers.observer import ObservedEngine


class Kind(StrEnum):
    ADMITTED = "admitted"
    """It left the queue, and got tokens."""
    COMPUTED = "computed"
    """It was running, and got tokens."""
    PREEMPTED = "preempted"
    """It gave back all of its blocks."""
    SKIPPED = "skipped"
    """It is running, and got no tokens."""
    HELD = "held"
    """It stays in the queue."""


class Reason(StrEnum):
    """The limit that the scheduler met first."""

    PRESSURE = "pressure"
    """Held: a sequence was preempted in this step, and then none is admitted."""
    BUDGET = "budget"
    """Held, skipped or given only a part of its tokens: the step's token budget is used up."""
    SEATS = "seats"
    """Held: as many sequences run as may run."""
    MEMORY = "memory"
    """Held: its tokens need more blocks than are available."""
    QUEUE = "queue"
    """Held: the sequence at the head of the queue is held, and none overtakes it."""
    LOGPROBS = "logprobs"
    """Given only a part: a prompt whose log-probabilities are wanted gets at most PROMPT_LOGPROBS_TOKENS in a step."""
    ENDING = "ending"
    """Skipped: its last token is being drawn."""


@dataclass(frozen=True, slots=True)
class Decision:
    """The meaning of one step for one sequence. It holds values, not the sequence, which goes on changing."""

    step: int
    name: str
    kind: Kind
    reason: Reason | None = None
    """None if it got all the tokens it has."""
    _: KW_ONLY
    num_tokens: int = 0
    """Tokens that are computed in this step."""
    num_left: int = 0
    """Tokens that are known and will still not be computed after this step."""
    num_cached: int = 0
    """Admitted: tokens whose KV it found."""
    num_lost: int = 0
    """Preempted: tokens whose KV is gone."""
    because_of: str | None = None
    """Preempted: the sequence that needed the blocks. Held by QUEUE: the sequence at the head."""


def name_of(sequence: Sequence) -> str:
    """Return a name that differs for each of a request's n answers."""
    return f"{sequence.request_id}/{sequence.index}"


def decisions_of(index: int, step: Step, scheduler: Scheduler) -> list[Decision]:
    """Return exactly one decision for each sequence in the scheduler, right after it has planned the step."""
    decisions = [_served(index, sequence, step) for sequence in step.num_tokens]
    # region exercise: the preempted ones, the running ones without tokens, and the queue
    for item in step.preempted:
        victim, cause = name_of(item.victim), name_of(item.needed_by)
        decisions.append(Decision(index, victim, Kind.PREEMPTED, num_lost=item.num_lost_tokens, because_of=cause))
    for sequence in scheduler.running:
        if sequence not in step.num_tokens:
            reason = Reason.ENDING if sequence.is_full else Reason.BUDGET
            decisions.append(Decision(index, name_of(sequence), Kind.SKIPPED, reason))
    victims = [item.victim for item in step.preempted]
    held = [sequence for sequence in scheduler.waiting if sequence not in victims]
    for sequence in held:
        reason, head = why_held(step, scheduler), name_of(held[0])
        if sequence is held[0] or reason is Reason.PRESSURE:
            decisions.append(Decision(index, name_of(sequence), Kind.HELD, reason))
        else:
            decisions.append(Decision(index, name_of(sequence), Kind.HELD, Reason.QUEUE, because_of=head))
    return decisions
    # endregion


def why_held(step: Step, scheduler: Scheduler) -> Reason:
    """Return why the sequence at the head of the queue was not admitted in this step."""
    # region exercise: go through the conditions in the order in which `Scheduler` does
    if step.preempted:
        return Reason.PRESSURE
    if step.budget == 0:
        return Reason.BUDGET
    return Reason.SEATS if len(scheduler.running) >= scheduler.max_num_seqs else Reason.MEMORY
    # endregion


def _served(index: int, sequence: Sequence, step: Step) -> Decision:
    """Return the decision about a sequence that gets tokens."""
    # region exercise: admitted or computed; how many tokens, how many are left and why, how many were cached
    start, num_tokens = step.starts[sequence], step.num_tokens[sequence]
    num_left = max(0, sequence.num_tokens - start - num_tokens)
    reason = None
    if num_left:
        capped = sequence.wants_prompt_logprobs and num_tokens == PROMPT_LOGPROBS_TOKENS
        reason = Reason.LOGPROBS if capped else Reason.BUDGET
    admitted = sequence in step.admitted
    return Decision(
        index,
        name_of(sequence),
        Kind.ADMITTED if admitted else Kind.COMPUTED,
        reason,
        num_tokens=num_tokens,
        num_left=num_left,
        num_cached=start if admitted else 0,
    )
    # endregion


class DecisionLog:
    """An observer that hands each decision to `emit`.

    A sequence that waits does so in every step. It is logged when it begins to wait, and again only when kind, reason
    or `because_of` change.
    """

    def __init__(self, emit: Callable[[Decision], None]) -> None:
        self.emit = emit
        self.num_steps = 0
        self._last: dict[str, tuple[object, ...]] = {}

    def watch(self, engine: ObservedEngine) -> None:
        self.scheduler = engine.scheduler

    def launched(self, step: Step, now: float) -> None:
        # region exercise: emit what is new; remember as little as you can
        for decision in decisions_of(self.num_steps, step, self.scheduler):
            state = (decision.kind, decision.reason, decision.because_of)
            waits = decision.kind in (Kind.HELD, Kind.SKIPPED)
            if not waits or self._last.get(decision.name) != state:
                self.emit(decision)
            if waits:
                self._last[decision.name] = state
            else:
                self._last.pop(decision.name, None)
        self.num_steps += 1
        # endregion

    def finished(self, sequence: Sequence) -> None:
        # region exercise: the sequence is gone
        self._last.pop(name_of(sequence), None)
        # endregion

    def queued(self, sequence: Sequence) -> None:
        pass

    def computed(self, step: Step, sampled: list[Sampled], now: float) -> None:
        pass


def replay(decisions: Iterable[Decision], num_steps: int) -> list[dict[str, int]]:
    """Return the tokens of each sequence in each step, as the log has them."""
    # region exercise: only two kinds give tokens
    steps: list[dict[str, int]] = [{} for _ in range(num_steps)]
    for decision in decisions:
        if decision.num_tokens:
            steps[decision.step][decision.name] = decision.num_tokens
    return steps
    # endregion


def waits(decisions: Ordered[Decision], num_steps: int) -> dict[str, dict[Reason, int]]:
    """Return for each sequence how many steps it was held or skipped, by reason.

    A decision holds from its step until the sequence's next one, and the last one until `num_steps`. All of the
    log's sequences have been served, or still wait.
    """
    # region exercise: the steps between a decision and the same sequence's next
    found: dict[str, dict[Reason, int]] = {}
    ends: dict[str, int] = {}
    for decision in reversed(decisions):
        until = ends.get(decision.name, num_steps)
        ends[decision.name] = decision.step
        if decision.kind in (Kind.HELD, Kind.SKIPPED) and decision.reason is not None:
            counts = found.setdefault(decision.name, {})
            counts[decision.reason] = counts.get(decision.reason, 0) + until - decision.step
    return found
    # endregion
