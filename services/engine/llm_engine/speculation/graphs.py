"""A step of guesses as one CUDA graph: k rounds of the draft model, the verification, and the acceptance.

The rounds need nothing from the host. A guess is the next round's input on the device, and the positions of all rounds
are known before the first one:

    host      two last tokens, position, block table ->                                      -> guesses, tokens, count
    draft                                         t4 t5 -> g6,  g6 -> g7,  g7 -> g8
    main                                                                    t5 g6 g7 g8 -> accept

So a step makes one copy to the device, one launch and one copy to the host, which is the only time the host waits.
As in `execution.graphs`, sizes are padded and each guess is a decode of its own. A sequence with fewer guesses, and a
row of padding, has rows that write no KV and attend to nothing.

A graph serves steps that only decode, for requests that are greedy or have no more than a temperature, and that neither
edit nor read their logits. `DraftModel.fill` and the sampler do the rest; there the host waits for the guesses, and
again for the tokens.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from llm_engine.execution.batch import Batch
from llm_engine.execution.graphs import Capture, Forward, Run, sizes_up_to
from llm_engine.execution.transfer import Array, HostCopy
from llm_engine.operators.truncation import truncates
from llm_engine.sampling.sampler import ACCEPT_LANE, DRAFT_LANE, Draw, Sampled, Sampler, check_peaks
from llm_engine.scheduler.sequence import Sequence
from llm_engine.speculation.choices import Choices, Drawn, Likeliest, columns

LARGEST = 32
"""Most sequences of one graph. With more, a verification has too many rows for guesses to gain much."""
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

    def run(self, inputs: Tensor, numbers: Tensor | None = None) -> Tensor:
        """Guess, verify and accept.

        `inputs` [sequences, columns]; `numbers`: see `Drawn`, None if all sequences are greedy. Return a column for
        each sequence: its guesses, its tokens, how many of these are accepted guesses, and the bits of a float64 that
        is finite if all its logits are.
        """
        places, choices = self._places(inputs), self._choices(numbers)
        drafts = self._guess(inputs, places, choices)
        tokens = torch.cat((inputs[:, LAST].unsqueeze(0), drafts))
        logits = self.main(places.decodes(tokens, 0, self.max_model_len)).view(*tokens.shape, -1)
        found, accepted = choices.accept(logits, drafts, inputs[:, NUM_DRAFTS])
        peaks = logits.amax(dim=-1).double().masked_fill(places.slots[1:] < 0, 0).sum(dim=0)
        return torch.cat((drafts, found, torch.stack((accepted, peaks.view(torch.int64)))))

    def guess(self, inputs: Tensor) -> Tensor:
        """Return the most likely guesses [num_drafts, sequences]."""
        return self._guess(inputs, self._places(inputs), Likeliest())

    def _choices(self, numbers: Tensor | None) -> Choices:
        return Likeliest() if numbers is None else Drawn(numbers, self.num_drafts)

    def _guess(self, inputs: Tensor, places: Places, choices: Choices) -> Tensor:
        # The first round computes the last two tokens: see `draft_model`.
        tokens, count = inputs[:, PREVIOUS : LAST + 1].T, len(inputs)
        rows: Tensor | None = torch.arange(count, 2 * count, device=inputs.device)
        drafts: list[Tensor] = []
        for depth in range(self.num_drafts):
            offset = depth + 1 - len(tokens)
            logits = self.draft(places.decodes(tokens, offset, self.max_model_len, rows))
            tokens, rows = choices.guess(logits, depth).unsqueeze(0), None
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
    """Graphs of `Rounds`: for each number of sequences one that is greedy and one that draws."""

    def __init__(
        self, rounds: Rounds, capture: Capture, largest: int, *, sampler: Sampler, device: torch.device
    ) -> None:
        """Capture every size, largest first, so that smaller sizes reuse its memory."""
        self.rounds = rounds
        self._sampler = sampler
        self._sizes = sizes_up_to(min(largest, LARGEST))
        most, blocks = self._sizes[-1], -(-rounds.max_model_len // rounds.block_size)
        self._inputs = _Inputs(torch.zeros((most, TABLE + blocks), dtype=torch.int64), device)
        self._inputs.pad(0, most)
        self._inputs.send(most)
        self._numbers = _Inputs(torch.zeros((most, columns(rounds.num_drafts)), dtype=torch.float64), device)
        inputs, numbers = self._inputs.device, self._numbers.device
        self._greedy: dict[int, Run] = {}
        self._drawn: dict[int, Run] = {}
        for size in reversed(self._sizes):
            self._drawn[size] = capture(partial(rounds.run, inputs[:size], numbers[:size]))
            self._greedy[size] = capture(partial(rounds.run, inputs[:size]))

    def takes(self, num_tokens: dict[Sequence, int]) -> bool:
        """Return whether a graph can compute the step: few sequences, all of them decodes, and nothing but tokens."""
        return len(num_tokens) <= self._sizes[-1] and all(
            sequence.num_uncomputed_tokens == 1 and _is_plain(sequence) for sequence in num_tokens
        )

    def launch(self, num_tokens: dict[Sequence, int]) -> Draw:
        """Compute the step and wait for its tokens. The sequences get their guesses."""
        sequences = list(num_tokens)
        size = self._sizes[bisect_left(self._sizes, len(sequences))]
        for row, sequence in zip(self._inputs.rows, sequences, strict=False):
            _write(row, sequence)
        self._inputs.pad(len(sequences), size)
        self._inputs.send(size)
        runs = self._greedy
        if not all(sequence.params.is_greedy for sequence in sequences):
            self._write_numbers(sequences)
            self._numbers.send(size)
            runs = self._drawn
        (found,) = HostCopy(runs[size]()).wait()
        check_peaks(sequences, found[-1, : len(sequences)].view(torch.float64).tolist())
        sampled = list(map(self._sampled, sequences, found[:-1].T.tolist()))  # without the columns of the padding
        return Draw(sequences, None, lambda: sampled)

    def _write_numbers(self, sequences: list[Sequence]) -> None:
        count, rows = self.rounds.num_drafts, self._numbers.rows[: len(sequences)]
        rows[:, 0] = [0.0 if s.params.is_greedy else s.params.temperature for s in sequences]
        column = 1
        for lane, width in ((DRAFT_LANE, count), (ACCEPT_LANE, count), (0, count + 1)):
            owners = [sequence for sequence in sequences for _ in range(width)]
            uniforms = self._sampler.uniforms(owners, list(range(width)) * len(sequences), lane)
            rows[:, column : column + width] = uniforms.reshape(len(sequences), width)
            column += width

    def _sampled(self, sequence: Sequence, found: list[int]) -> Sampled:
        count, first = len(sequence.draft_token_ids), self.rounds.num_drafts
        sequence.draft_token_ids = found[:count]
        return Sampled(sequence, found[first : first + found[-1] + 1], None, count, sequence.num_tokens)


class _Inputs:
    """Rows of one type that are written on the host and copied to fixed memory on the device."""

    def __init__(self, host: Tensor, device: torch.device) -> None:
        self._host = host.pin_memory() if device.type == "cuda" else host
        self.rows: Array = self._host.numpy()
        self.device = self._host.to(device, copy=True)

    def pad(self, start: int, stop: int) -> None:
        """Let the rows from `start` on be without a sequence."""
        self.rows[start:stop, POSITION : NUM_DRAFTS + 1] = -1

    def send(self, count: int) -> None:
        """Copy the first rows. They must not be written until a result has been read."""
        self.device[:count].copy_(self._host[:count], non_blocking=True)


def _write(row: Array, sequence: Sequence) -> None:
    tokens, table = sequence.token_ids, sequence.block_table
    previous = tokens[-2] if len(tokens) > 1 else 0
    row[:TABLE] = previous, tokens[-1], len(tokens) - 1, len(sequence.draft_token_ids)
    row[TABLE : TABLE + len(table)] = table


def _is_plain(sequence: Sequence) -> bool:
    """Return whether nothing but the temperature edits the sequence's logits, and nothing reads them."""
    params = sequence.params
    edited = params.edits_logits or params.structured is not None
    truncated = not params.is_greedy and (params.min_p > 0 or truncates(params))
    return not (edited or truncated or params.logprobs is not None or sequence.wants_prompt_logprobs)
