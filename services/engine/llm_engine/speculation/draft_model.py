"""The draft model: a smaller model that runs ahead of the main model, over the same blocks.

Its KV cache is a second set of tensors with the main model's block ids. It computes every token that the main model
computes, so block sharing, copies and preemption need no second bookkeeping:

    main      ... t5 | t6 [g7 g8 g9]        one step verifies three guesses
    draft     ... t5 | t5 t6 -> g7 -> g8 -> g9

The first round starts one token back: if every guess of the last step was accepted, the last guess was never fed to
the draft model.
"""

from __future__ import annotations

import time

import torch
from torch import Tensor

from llm_engine.execution.batch import BatchBuilder
from llm_engine.execution.graphs import Forward
from llm_engine.kv_cache.memory import BlockCopy, KVMemory
from llm_engine.operators.truncation import likeliest
from llm_engine.sampling.sampler import DRAFT_LANE, Sampler
from llm_engine.scheduler.sequence import Sequence
from llm_engine.speculation.speculation import SpeculationStats


class DraftModel:
    """A model that guesses tokens, with its own KV memory and the main model's block tables."""

    def __init__(
        self, forward: Forward, memory: KVMemory, builder: BatchBuilder, sampler: Sampler, *, stats: SpeculationStats
    ) -> None:
        self.forward = forward
        self._builder = builder
        self._sampler = sampler
        self._memory = memory
        self._stats = stats

    def propose(self, sequence: Sequence, count: int) -> list[int]:
        """Return dummy guesses, for which the scheduler reserves blocks. `fill` replaces them."""
        return [0] * count

    def copy(self, copies: list[BlockCopy]) -> None:
        self._memory.copy(copies)

    def fill(self, num_tokens: dict[Sequence, int]) -> None:
        """Compute the step's tokens, then guess the drafts, one token per round."""
        begun = time.monotonic()
        guessing = [sequence for sequence in num_tokens if sequence.draft_token_ids]
        starts = {sequence: max(0, sequence.num_tokens - 2) for sequence in guessing}
        first = {s: s.num_tokens - starts[s] if s in starts else count for s, count in num_tokens.items()}
        chosen: dict[Sequence, list[Tensor]] = {sequence: [] for sequence in guessing}
        self._round(first, starts, 0, chosen)
        depth = 1
        while guessing := [sequence for sequence in guessing if len(sequence.draft_token_ids) > depth]:
            starts = {sequence: sequence.num_tokens + depth - 1 for sequence in guessing}
            self._round(dict.fromkeys(guessing, 1), starts, depth, chosen)
            depth += 1
        for sequence, rows in chosen.items():
            sequence.draft_probabilities = torch.stack(rows) if rows else None
        self._stats.draft_seconds += time.monotonic() - begun

    def _round(
        self,
        num_tokens: dict[Sequence, int],
        starts: dict[Sequence, int],
        depth: int,
        chosen: dict[Sequence, list[Tensor]],
    ) -> None:
        batch = self._builder.build(num_tokens, starts)
        logits = self.forward(batch)
        last = [(rows.stop - 1, rows.sequence) for rows in batch.wanted if rows.sequence in starts]
        if not last:
            return
        logits = logits[[row for row, _ in last]]
        self._guess(logits, [sequence for _, sequence in last], depth, chosen)

    def _guess(
        self, logits: Tensor, sequences: list[Sequence], depth: int, chosen: dict[Sequence, list[Tensor]]
    ) -> None:
        """Guess the most likely token for greedy sequences. Draw for the others and keep the distribution."""
        for sequence, token in zip(sequences, likeliest(logits).tolist(), strict=True):
            sequence.draft_token_ids[depth] = token
        rows = [row for row, sequence in enumerate(sequences) if not sequence.params.is_greedy]
        if not rows:
            return
        drawing = [sequences[row] for row in rows]
        probabilities = self._sampler.distribution(logits[rows], [sequence.params for sequence in drawing])
        tokens = self._sampler.draw(probabilities, drawing, [depth] * len(rows), DRAFT_LANE)
        for sequence, token, row in zip(drawing, tokens, probabilities, strict=True):
            sequence.draft_token_ids[depth] = token
            chosen[sequence].append(row)
