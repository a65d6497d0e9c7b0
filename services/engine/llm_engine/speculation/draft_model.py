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
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from llm_engine.execution.batch import BatchBuilder
from llm_engine.execution.graphs import Forward
from llm_engine.execution.transfer import HostCopy, to_device
from llm_engine.kv_cache.memory import BlockCopy, KVMemory
from llm_engine.operators.truncation import invert, likeliest
from llm_engine.sampling.sampler import DRAFT_LANE, Sampler
from llm_engine.scheduler.placeholders import placeholder, resolve
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
        """Compute the step's tokens, then guess the drafts, one token per round.

        A round takes the guesses of the last one on the device: placeholders stand for them. They are read at the end.
        """
        begun = time.monotonic()
        guessing = [sequence for sequence in num_tokens if sequence.draft_token_ids]
        starts = {sequence: max(0, sequence.num_tokens - 2) for sequence in guessing}
        first = {s: s.num_tokens - starts[s] if s in starts else count for s, count in num_tokens.items()}
        rounds = [self._round(first, starts, 0, None)]
        depth = 1
        while guessing := [sequence for sequence in guessing if len(sequence.draft_token_ids) > depth]:
            starts = {sequence: sequence.num_tokens + depth - 1 for sequence in guessing}
            rounds.append(self._round(dict.fromkeys(guessing, 1), starts, depth, rounds[-1].tokens))
            depth += 1
        _read(rounds)
        self._stats.draft_seconds += time.monotonic() - begun

    def _round(
        self, num_tokens: dict[Sequence, int], starts: dict[Sequence, int], depth: int, guesses: Tensor | None
    ) -> Round:
        """Compute a round whose tokens are known, or stand for the last round's `guesses`."""
        batch = self._builder.build(num_tokens, starts).to(self._builder.device)
        if guesses is not None:
            batch.token_ids = resolve(batch.token_ids, guesses)
        logits = self.forward(batch)
        last = [(rows.stop - 1, rows.sequence) for rows in batch.wanted if rows.sequence in starts]
        if not last:
            return Round([], logits[:0], {})
        if len(last) < len(logits):
            logits = logits[_indices([row for row, _ in last], logits)]
        return self._guess(logits, [sequence for _, sequence in last], depth)

    def _guess(self, logits: Tensor, sequences: list[Sequence], depth: int) -> Round:
        """Guess the most likely token for greedy sequences. Draw for the others and keep the distribution."""
        for row, sequence in enumerate(sequences):
            sequence.draft_token_ids[depth] = placeholder(row)
        tokens = likeliest(logits)
        drawing = [row for row, sequence in enumerate(sequences) if not sequence.params.is_greedy]
        if not drawing:
            return Round(sequences, tokens, {})
        owners, rows = [sequences[row] for row in drawing], _indices(drawing, logits)
        probabilities = self._sampler.distribution(logits[rows], [sequence.params for sequence in owners])
        uniforms = self._sampler.uniforms(owners, [depth] * len(owners), DRAFT_LANE)
        tokens = tokens.index_copy(0, rows, invert(probabilities, uniforms))
        return Round(sequences, tokens, dict(zip(owners, probabilities, strict=True)))


@dataclass(frozen=True, slots=True)
class Round:
    """The guesses of one round."""

    sequences: list[Sequence]
    tokens: Tensor
    """[sequences], on the device"""
    probabilities: dict[Sequence, Tensor]
    """[vocabulary] The distribution from which the guess was drawn, for each sequence that is not greedy."""


def _read(rounds: list[Round]) -> None:
    """Wait for the guesses of all rounds and write them to their sequences."""
    if not rounds[0].sequences:
        return
    (tokens,) = HostCopy(torch.cat([each.tokens for each in rounds])).wait()
    places = [(sequence, depth) for depth, each in enumerate(rounds) for sequence in each.sequences]
    for (sequence, depth), token in zip(places, tokens.tolist(), strict=True):
        sequence.draft_token_ids[depth] = token
    for sequence in rounds[0].probabilities:
        drawn = [each.probabilities[sequence] for each in rounds if sequence in each.probabilities]
        sequence.draft_probabilities = torch.stack(drawn)


def _indices(rows: list[int], like: Tensor) -> Tensor:
    return to_device([np.array(rows, dtype=np.int64)], like.device)[0]
