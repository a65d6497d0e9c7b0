"""A step of guesses as one CUDA graph: k rounds of the draft model, the verification, and the acceptance.

The rounds need nothing from the host. A guess is the next round's input on the device, and the positions of all rounds
are known before the first one:

    host      two last tokens, position, block table ->                                      -> guesses, tokens, count
    draft                                         t4 t5 -> g6,  g6 -> g7,  g7 -> g8
    main                                                                    t5 g6 g7 g8 -> accept

So a step makes one copy to the device, one launch and one copy to the host, which is the only time the host waits.
As in `execution.graphs`, sizes are padded and each guess is a decode of its own. A sequence with fewer guesses, and a
row of padding, has rows that write no KV and attend to nothing.

A graph serves steps that only decode, and requests whose logits nobody edits or reads. `DraftModel.fill` and the
sampler do the rest, with a wait per round.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from llm_engine.execution.batch import Batch
from llm_engine.execution.graphs import Capture, Forward, sizes_up_to
from llm_engine.execution.transfer import HostCopy
from llm_engine.operators.rejection import count_equal
from llm_engine.sampling.sampler import Draw, Sampled, check_peaks
from llm_engine.scheduler.sequence import Sequence

LARGEST = 32
"""Most sequences of one graph. With more, the rows of a verification are so many that guesses gain little."""
PREVIOUS, LAST, POSITION, NUM_DRAFTS, TABLE = range(5)
"""Columns of the inputs: the last two tokens, the position of the last one, how many guesses, then the block table."""


@dataclass(frozen=True, slots=True)
class Places:
    """Where the tokens of a step are: those at offset -1, 0, … `num_drafts` from each sequence's last token.

    Each offset has a row of [sequences], so that a round's values lie next to each other.
    """

    positions: Tensor
    slots: Tensor
    context_lens: Tensor
    tables: Tensor
    """[sequences, blocks]"""

    def decodes(self, tokens: Tensor, offset: int, max_context_len: int, logit_rows: Tensor | None = None) -> Batch:
        """Return a batch of `tokens` [offsets, sequences], the first of them at `offset`: each token is a decode."""
        rows, count = slice(offset + 1, offset + 1 + len(tokens)), tokens.numel()
        return Batch(
            token_ids=tokens.flatten(),
            positions=self.positions[rows].flatten(),
            slots=self.slots[rows].flatten(),
            block_tables=self.tables.repeat(len(tokens), 1) if len(tokens) > 1 else self.tables,
            context_lens=self.context_lens[rows].flatten(),
            query_starts=torch.arange(count + 1, device=tokens.device),
            query_lens=[1] * count,
            max_context_len=max_context_len,
            has_placeholders=False,
            logit_rows=logit_rows,
            wanted=[],
        )


@dataclass(frozen=True, slots=True)
class Rounds:
    """The two models and the limits of a step."""

    draft: Forward
    main: Forward
    num_drafts: int
    max_model_len: int
    block_size: int

    def run(self, inputs: Tensor) -> Tensor:
        """Guess, verify and accept.

        `inputs` [sequences, columns]. Returns a column for each sequence: its guesses, the likeliest token at each
        position, the number of accepted guesses, and the bits of a float64 that is finite if all its logits are.
        """
        places, limits = self._places(inputs), inputs[:, NUM_DRAFTS]
        drafts = self._guess(inputs, places)
        tokens = torch.cat((inputs[:, LAST].unsqueeze(0), drafts))
        logits = self.main(places.decodes(tokens, 0, self.max_model_len))
        best, peaks = (each.view(tokens.shape) for each in (logits.argmax(dim=-1), logits.amax(dim=-1)))
        padding = places.slots[1:] < 0
        found = peaks.double().masked_fill(padding, 0).sum(dim=0).view(torch.int64)
        return torch.cat((drafts, best, torch.stack((count_equal(best, drafts, limits), found))))

    def guess(self, inputs: Tensor) -> Tensor:
        """Return guesses [num_drafts, sequences]."""
        return self._guess(inputs, self._places(inputs))

    def _guess(self, inputs: Tensor, places: Places) -> Tensor:
        # The first round computes the last two tokens: see `draft_model`.
        tokens, count = inputs[:, PREVIOUS : LAST + 1].T, len(inputs)
        rows: Tensor | None = torch.arange(count, 2 * count, device=inputs.device)
        drafts: list[Tensor] = []
        for depth in range(self.num_drafts):
            offset = depth + 1 - len(tokens)
            logits = self.draft(places.decodes(tokens, offset, self.max_model_len, rows))
            tokens, rows = logits.argmax(dim=-1).unsqueeze(0), None
            drafts.append(tokens)
        return torch.cat(drafts)

    def _places(self, inputs: Tensor) -> Places:
        offsets = torch.arange(-1, self.num_drafts + 1, device=inputs.device).unsqueeze(1)
        tables, positions = inputs[:, TABLE:].contiguous(), inputs[:, POSITION] + offsets
        padding = (positions < 0) | (offsets > inputs[:, NUM_DRAFTS])
        positions = positions.masked_fill(padding, 0)
        blocks = tables.T.gather(0, positions // self.block_size)
        slots = blocks * self.block_size + positions % self.block_size
        return Places(positions, slots.masked_fill(padding, -1), (positions + 1).masked_fill(padding, 0), tables)


class SpeculativeGraphs:
    """Graphs of `Rounds`, one per number of sequences."""

    def __init__(self, rounds: Rounds, capture: Capture, largest: int, *, device: torch.device) -> None:
        """Capture every size, largest first, so that smaller sizes reuse its memory."""
        self.rounds = rounds
        self._sizes = sizes_up_to(min(largest, LARGEST))
        shape = (self._sizes[-1], TABLE + -(-rounds.max_model_len // rounds.block_size))
        host = torch.zeros(shape, dtype=torch.int64, pin_memory=device.type == "cuda")
        host[:, POSITION : NUM_DRAFTS + 1] = -1
        self._host = host
        self._rows = host.numpy()
        self._inputs = host.to(device, copy=True)
        self._runs = {size: capture(partial(rounds.run, self._inputs[:size])) for size in reversed(self._sizes)}

    def takes(self, num_tokens: dict[Sequence, int]) -> bool:
        """Return whether a graph can compute the step: decodes only, few enough, and their tokens are all they want."""
        return len(num_tokens) <= self._sizes[-1] and all(
            sequence.num_uncomputed_tokens == 1 and sequence.params.is_greedy and not _wants_logits(sequence)
            for sequence in num_tokens
        )

    def launch(self, num_tokens: dict[Sequence, int]) -> Draw:
        """Compute the step and wait for its tokens. The sequences get their guesses."""
        sequences = list(num_tokens)
        size = self._sizes[bisect_left(self._sizes, len(sequences))]
        for row, sequence in zip(self._rows, sequences, strict=False):
            _write(row, sequence)
        self._rows[len(sequences) : size, POSITION : NUM_DRAFTS + 1] = -1
        self._inputs[:size].copy_(self._host[:size], non_blocking=True)
        (found,) = HostCopy(self._runs[size]()).wait()
        check_peaks(sequences, found[-1, : len(sequences)].view(torch.float64).tolist())
        sampled = list(map(self._sampled, sequences, found[:-1].T.tolist()))
        return Draw(sequences, None, lambda: sampled)

    def _sampled(self, sequence: Sequence, found: list[int]) -> Sampled:
        count, first = len(sequence.draft_token_ids), self.rounds.num_drafts
        sequence.draft_token_ids = found[:count]
        return Sampled(sequence, found[first : first + found[-1] + 1], None, count, sequence.num_tokens)


def _write(row: np.ndarray, sequence: Sequence) -> None:
    tokens, table = sequence.token_ids, sequence.block_table
    previous = tokens[-2] if len(tokens) > 1 else 0
    row[:TABLE] = previous, tokens[-1], len(tokens) - 1, len(sequence.draft_token_ids)
    row[TABLE : TABLE + len(table)] = table


def _wants_logits(sequence: Sequence) -> bool:
    """Return whether something edits or reads the sequence's logits."""
    params = sequence.params
    return (
        params.edits_logits or params.logprobs is not None or sequence.grammar is not None
    ) or sequence.wants_prompt_logprobs
