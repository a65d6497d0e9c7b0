"""Communication between ranks within a step, over torch.distributed: gloo on CPUs, NCCL on GPUs.

Calls, bytes and seconds are counted. A tensor of n bytes counts n, however many bytes the algorithm moves.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor
from torch._C._distributed_c10d import Store

from llm_engine.parallel.sharding import Shard

TIMEOUT = timedelta(seconds=60)
"""Longest wait of one rank for another within a step. Between steps no rank waits in a collective."""


@dataclass(slots=True)
class Traffic:
    """Counts of one kind of call."""

    calls: int = 0
    num_bytes: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Call:
    """One call; times are of the machine's monotonic clock, on a GPU those of its launch."""

    name: str
    begin: float
    end: float
    num_bytes: int


@dataclass(frozen=True, slots=True)
class Timeline:
    """One rank's forward pass."""

    rank: int
    begin: float
    end: float
    calls: list[Call]


class Collectives:
    """One rank's connection to the others."""

    def __init__(self, shard: Shard, rank: int, store: Store, device: torch.device) -> None:
        """Connect to the other ranks, which must do so at the same time. A process can be a rank of one model only."""
        world = shard.tensor_size * shard.num_stages
        backend = "nccl" if device.type == "cuda" else "gloo"
        if device.type == "cuda":
            torch.cuda.set_device(device)  # kernels are launched on the current device
        dist.init_process_group(backend, store=store, rank=rank, world_size=world, timeout=TIMEOUT)
        groups = [
            dist.new_group(list(range(stage * shard.tensor_size, (stage + 1) * shard.tensor_size)))
            for stage in range(shard.num_stages)
        ]
        self.shard = shard
        self.traffic: dict[str, Traffic] = {}
        self.calls: list[Call] | None = None
        """Every call since `take_timeline`; None: none are kept."""
        self._rank = rank
        self._group = groups[shard.stage]
        self._last_stage_rank = (shard.num_stages - 1) * shard.tensor_size

    def all_reduce(self, x: Tensor) -> Tensor:
        """Sum `x` over the ranks of the stage, in place."""
        if self.shard.tensor_size > 1:
            self._timed("all_reduce", x, lambda: dist.all_reduce(x, group=self._group))
        return x

    def gather_logits(self, logits: Tensor) -> Tensor:
        """Concatenate the ranks' parts of the vocabulary: [rows, vocabulary / ranks] -> [rows, vocabulary]."""
        if self.shard.tensor_size == 1:
            return logits
        parts = [torch.empty_like(logits) for _ in range(self.shard.tensor_size)]
        self._timed("all_gather", logits, lambda: dist.all_gather(parts, logits.contiguous(), group=self._group))
        return torch.cat(parts, dim=-1)

    def send_to_next_stage(self, x: Tensor) -> None:
        """Send hidden states to the same tensor rank of the next stage."""
        self._timed("send", x, lambda: dist.send(x, self._rank + self.shard.tensor_size))

    def receive_from_previous_stage(self, x: Tensor) -> Tensor:
        """Receive hidden states into `x` and return it."""
        self._timed("receive", x, lambda: dist.recv(x, self._rank - self.shard.tensor_size))
        return x

    def send_to_sampler(self, logits: Tensor) -> Tensor:
        """Move logits from the last stage to rank 0, which samples. In rank 0, `logits` is the buffer for them."""
        if self._last_stage_rank and self._rank == self._last_stage_rank:
            self._timed("send", logits, lambda: dist.send(logits.contiguous(), 0))
        elif self._last_stage_rank and self._rank == 0:
            self._timed("receive", logits, lambda: dist.recv(logits, self._last_stage_rank))
        return logits

    def take_timeline(self, begin: float) -> Timeline:
        """Return the pass that began then and ends now, and forget its calls."""
        calls, self.calls = self.calls or [], []
        return Timeline(self._rank, begin, time.monotonic(), calls)

    def close(self) -> None:
        dist.destroy_process_group()

    def report(self) -> str:
        """Return the counts in one line: calls, bytes and seconds of each kind of call."""
        lines = [
            f"{name}: {item.calls} calls, {item.num_bytes} bytes, {item.seconds:.3f} s"
            for name, item in sorted(self.traffic.items())
        ]
        return f"rank {self._rank}: " + "; ".join(lines)

    def _timed(self, name: str, x: Tensor, call: Callable[[], object]) -> None:
        started = time.monotonic()
        call()
        traffic = self.traffic.setdefault(name, Traffic())
        traffic.calls += 1
        num_bytes, ended = x.numel() * x.element_size(), time.monotonic()
        traffic.num_bytes += num_bytes
        traffic.seconds += ended - started
        if self.calls is not None:
            self.calls.append(Call(name, started, ended, num_bytes))
