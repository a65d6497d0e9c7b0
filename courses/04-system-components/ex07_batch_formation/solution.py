# ruff: noqa: F821 - the names of the module that it is put into
"""Batches that keep a promise: prompts get what is left of a step after a target for its time."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Cost:
    """A model of a step's time. `fixed_ms` is for reading the weights, `token_ms` for each token of the batch."""

    fixed_ms: float
    token_ms: float

    def of_step(self, num_tokens: int) -> float:
        return self.fixed_ms + self.token_ms * num_tokens


COST = Cost(8.0, 0.0625)
TARGET_MS = 20.0
"""Longest time between two tokens of an answer, unless its batch cannot do better."""
LEAST_PROMPT_TOKENS = 16
"""Prompt tokens of a step whose decodes alone take longer than the target."""


def prompt_budget(num_decodes: int, cost: Cost, target_ms: float) -> int | None:
    """Return how many prompt tokens a step can have beside its decodes. None: no answer waits, so there is no limit."""
    # region exercise: turn `Cost.of_step` round, leave out the decodes, and never go below LEAST_PROMPT_TOKENS
    if num_decodes == 0:
        return None
    most = int((target_ms - cost.fixed_ms) / cost.token_ms)
    return max(LEAST_PROMPT_TOKENS, most - num_decodes)
    # endregion


class Scheduler:
    def schedule(self) -> Step:
        """Plan the next step: running sequences first, then waiting ones, unless a sequence was preempted."""
        # region exercise: keep back what prompts must not have, and return it to `step.budget` at the end
        decodes = sum(1 for each in self.running if each.num_uncomputed_tokens == 1 and not each.is_full)
        most = prompt_budget(decodes, COST, TARGET_MS)
        kept = 0 if most is None else max(0, self.max_num_batched_tokens - decodes - most)
        step = Step(self.max_num_batched_tokens - kept)
        self._schedule_running(step)
        if not step.preempted:
            self._schedule_waiting(step)
        step.budget += kept
        step.copies = self.kv_cache.take_copies()
        return step
        # endregion
