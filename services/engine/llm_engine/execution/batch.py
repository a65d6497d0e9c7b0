"""The step as tensors: the tokens of all sequences in one flat row, fewest tokens (the decodes) first.

    tokens      d0 d1 d2 | p p p p p | q q q q q q       3 decodes, then prefill chunks of 5 and 6 tokens
    sequences   0  1  2  | 3         | 4

The buffers are allocated once and filled in place. A sequence that keeps its row also keeps its block table there, so
only new blocks are written.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from llm_engine.execution.transfer import Array, to_device
from llm_engine.scheduler.sequence import Sequence


@dataclass(slots=True)
class LogitRows:
    """The adjacent rows of logits that belong to one sequence: first `num_prompt` rows, then `num_sampled`."""

    sequence: Sequence
    start: int
    """The sequence's first row."""
    num_prompt: int
    """Rows that only say how likely the next token of the prompt was."""
    num_sampled: int
    """Rows to choose a token from: none in the middle of a prompt, else 1 plus one for each draft token."""

    @property
    def stop(self) -> int:
        return self.start + self.num_prompt + self.num_sampled

    @property
    def prompt(self) -> slice:
        return slice(self.start, self.start + self.num_prompt)

    @property
    def sampled(self) -> slice:
        return slice(self.start + self.num_prompt, self.stop)


@dataclass(slots=True, kw_only=True)
class Batch:
    """The tensors of one step, on the device. On a CPU they are views of buffers, valid until the next batch."""

    token_ids: Tensor
    """[tokens]"""
    positions: Tensor
    """[tokens] Position of each token in its sequence."""
    slots: Tensor
    """[tokens] Slot of each token's KV: block * block_size + offset. This is the slot mapping."""
    block_tables: Tensor
    """[sequences, blocks] Padded with arbitrary blocks, which attention masks."""
    context_lens: Tensor
    """[sequences] Tokens whose KV exists after the step."""
    query_starts: Tensor
    """[sequences + 1] Index of each sequence's first token, then the number of tokens."""
    query_lens: list[int]
    """[sequences] Tokens in this step, ascending."""
    max_context_len: int
    has_placeholders: bool
    """Whether some of `token_ids` are still being drawn: see `scheduler.placeholders`."""
    logit_rows: Tensor | None
    """[rows] Indices of the tokens whose logits are wanted. None: all tokens."""
    wanted: list[LogitRows]
    """The owners of the rows of logits, in order."""


@dataclass(slots=True, kw_only=True)
class HostBatch:
    """A batch in the host's memory. Every rank makes its own `Batch` of it."""

    arrays: dict[str, Array]
    """The tensors of `Batch` by name: views of the builder's buffers, valid until the next batch."""
    query_lens: list[int]
    max_context_len: int
    has_placeholders: bool
    wanted: list[LogitRows]

    def to(self, device: torch.device) -> Batch:
        tensors: dict[str, Any] = dict(zip(self.arrays, to_device(list(self.arrays.values()), device), strict=True))
        return Batch(
            **{"logit_rows": None, **tensors},
            query_lens=self.query_lens,
            max_context_len=self.max_context_len,
            has_placeholders=self.has_placeholders,
            wanted=self.wanted,
        )


class BatchBuilder:
    """The buffers from which each step's batch is made."""

    def __init__(
        self, max_num_seqs: int, max_tokens: int, max_model_len: int, block_size: int, *, device: torch.device
    ) -> None:
        self._block_size = block_size
        self.device = device
        self._token_ids = np.zeros(max_tokens, dtype=np.int64)
        self._positions = np.zeros(max_tokens, dtype=np.int64)
        self._slots = np.zeros(max_tokens, dtype=np.int64)
        self._context_lens = np.zeros(max_num_seqs, dtype=np.int64)
        self._query_starts = np.zeros(max_num_seqs + 1, dtype=np.int64)
        self._tables = np.zeros((max_num_seqs, -(-max_model_len // block_size)), dtype=np.int64)
        self._occupants: list[tuple[Sequence | None, int, int]] = [(None, 0, 0)] * max_num_seqs
        """For each row of `_tables`: its sequence, the version of its table, and how many blocks are written."""

    def build(self, num_tokens: dict[Sequence, int], starts: dict[Sequence, int] | None = None) -> HostBatch:
        """Build the batch of a step in the host's memory; `HostBatch.to` copies it to the device.

        `num_tokens`: how many tokens each sequence computes. `starts`: position of the first one; by default, the
        sequence's first uncomputed token.
        """
        begin = starts or {}
        # With equal numbers of tokens, the longest context comes first: on a GPU short ones then fill the tail.
        sequences = sorted(num_tokens, key=lambda item: (num_tokens[item], -item.num_computed_tokens))
        query_lens = [num_tokens[sequence] for sequence in sequences]
        wanted: list[LogitRows] = []
        logit_rows: list[int] = []
        total = max_context_len = 0
        for row, (sequence, count) in enumerate(zip(sequences, query_lens, strict=True)):
            self._write_table(row, sequence)
            first = begin.get(sequence, sequence.num_computed_tokens)
            self._write_tokens(row, total, sequence, first, count=count)
            total += count
            max_context_len = max(max_context_len, first + count)
            self._query_starts[row + 1] = total
            rows = _logit_rows(sequence, first, count, start=len(logit_rows))
            if size := rows.stop - rows.start:
                wanted.append(rows)
                logit_rows.extend(range(total - size, total))
        arrays = {
            "token_ids": self._token_ids[:total],
            "positions": self._positions[:total],
            "slots": self._slots[:total],
            "block_tables": self._tables[: len(sequences), : -(-max_context_len // self._block_size)],
            "context_lens": self._context_lens[: len(sequences)],
            "query_starts": self._query_starts[: len(sequences) + 1],
        }
        if len(logit_rows) < total:
            arrays["logit_rows"] = np.array(logit_rows, dtype=np.int64)
        return HostBatch(
            arrays=arrays,
            query_lens=query_lens,
            max_context_len=max_context_len,
            has_placeholders=any(sequence.ends_in_placeholder for sequence in sequences),
            wanted=wanted,
        )

    def _write_table(self, row: int, sequence: Sequence) -> None:
        occupant, version, written = self._occupants[row]
        written = written if occupant is sequence and version == sequence.table_version else 0
        blocks = sequence.block_table
        if written < len(blocks):
            self._tables[row, written : len(blocks)] = blocks[written:]
            self._occupants[row] = (sequence, sequence.table_version, len(blocks))

    def _write_tokens(self, row: int, start: int, sequence: Sequence, first: int, *, count: int) -> None:
        size, drafts = self._block_size, first + count - sequence.num_tokens
        self._context_lens[row] = first + count
        if count == 1 and drafts <= 0:
            self._token_ids[start] = sequence.token_ids[first]
            self._positions[start] = first
            self._slots[start] = sequence.block_table[first // size] * size + first % size
            return
        tokens = sequence.token_ids[first : first + count]
        if drafts > 0:
            tokens = (tokens + sequence.draft_token_ids[:drafts])[-count:]
        positions = np.arange(first, first + count)
        self._token_ids[start : start + count] = tokens
        self._positions[start : start + count] = positions
        self._slots[start : start + count] = self._tables[row, positions // size] * size + positions % size


def _logit_rows(sequence: Sequence, first: int, count: int, *, start: int) -> LogitRows:
    """Return which of the `count` computed tokens from `first` on, drafts included, need logits."""
    num_sampled = min(count, max(0, first + count - sequence.num_tokens + 1))
    num_prompt = count - num_sampled if sequence.wants_prompt_logprobs else 0
    return LogitRows(sequence, start, num_prompt, num_sampled)
