"""CUDA graphs for decodes: the hundreds of kernels of a step, captured once per batch size and replayed as one launch.

The GPU finishes each kernel of a small decode before the host has launched the next one. A graph removes that gap: it
replays fixed kernels on fixed memory. A batch is copied to the fixed inputs and padded to the next captured size:

    7 decodes -> the graph of 8:   tokens  t t t t t t t 0     slots  s s s s s s s -1     contexts  c c c c c c c 0

A padded row writes no KV (slot -1) and attends to nothing (context 0). A sequence with drafts becomes several decodes,
each with a context one token longer: all keys and values are written before attention reads them. Longer prompt chunks
run without a graph. Graphs need a backend that never waits for the device: triton.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import fields, replace
from functools import partial
from typing import Any, TypeAlias

import torch
from torch import Tensor

from llm_engine.execution.batch import Batch

Forward: TypeAlias = Callable[[Batch], Tensor]
Run: TypeAlias = Callable[[], Tensor]
Capture: TypeAlias = Callable[[Run], Run]
"""Capture what a function does on the device. The result replays it, into the same output."""


LONGEST_QUERY = 16
"""Most tokens of a sequence that are computed as separate decodes. Each reads the sequence's keys and values again."""


class DecodeGraphs:
    """A forward pass that replays a captured graph for decodes and runs everything else kernel by kernel."""

    def __init__(
        self,
        forward: Forward,
        capture: Capture,
        largest: int,
        *,
        max_model_len: int,
        block_size: int,
        device: torch.device,
    ) -> None:
        """Capture every size, largest first, so that smaller sizes reuse its memory."""
        self.eager = forward
        """The forward pass without graphs."""
        self._sizes = sizes_up_to(largest)
        self._inputs = _padding(largest, max_model_len, -(-max_model_len // block_size), device)
        self._runs = {size: capture(partial(forward, _first(self._inputs, size))) for size in reversed(self._sizes)}

    def __call__(self, batch: Batch) -> Tensor:
        """Return logits [logit rows, vocabulary], valid until the next call."""
        count, tables = len(batch.token_ids), batch.block_tables
        if batch.query_lens[-1] > LONGEST_QUERY or count > self._sizes[-1]:
            return self.eager(batch)
        if count > len(tables):
            tables = tables.repeat_interleave(batch.query_starts.diff(), dim=0, output_size=count)
        size, into = self._sizes[bisect_left(self._sizes, count)], self._inputs
        into.token_ids[:count] = batch.token_ids
        into.positions[:count] = batch.positions
        into.block_tables[:count, : tables.shape[1]] = tables
        into.slots[:count] = batch.slots
        into.slots[count:size] = -1
        into.context_lens[:count] = batch.positions + 1 if count > len(batch.block_tables) else batch.context_lens
        into.context_lens[count:size] = 0
        logits = self._runs[size]()[:count]
        return logits if batch.logit_rows is None else logits[batch.logit_rows]


def sizes_up_to(largest: int) -> list[int]:
    """Return 1, 2, 4, 8, 16, 24, … and `largest`: padding adds at most 7 rows."""
    return [*(size for size in (1, 2, 4) if size < largest), *range(8, largest, 8), largest]


def _padding(size: int, max_model_len: int, num_blocks: int, device: torch.device) -> Batch:
    """Return a batch of padding: decodes without a sequence."""
    none = torch.zeros(size, dtype=torch.int64, device=device)
    return Batch(
        token_ids=none.clone(),
        positions=none.clone(),
        slots=none - 1,
        block_tables=none.new_zeros((size, num_blocks)),
        context_lens=none.clone(),
        query_starts=torch.arange(size + 1, device=device),
        query_lens=[1] * size,
        max_context_len=max_model_len,
        has_placeholders=False,
        logit_rows=None,
        wanted=[],
    )


def _first(batch: Batch, size: int) -> Batch:
    values = {field.name: getattr(batch, field.name) for field in fields(batch)}
    cut: dict[str, Any] = {name: value[:size] for name, value in values.items() if isinstance(value, Tensor)}
    cut["query_starts"] = batch.query_starts[: size + 1]
    return replace(batch, **cut, query_lens=batch.query_lens[:size])


class CudaCapture:
    """Capture with CUDA. All graphs share one memory pool, because only one of them runs at a time."""

    def __init__(self) -> None:
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, run: Run) -> Run:
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            run()  # compile kernels and allocate workspaces, which is not allowed during capture
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        # Other threads, such as NCCL's watchdog, may call CUDA in the meantime.
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            output = run()

        def replay() -> Tensor:
            graph.replay()
            return output

        return replay
