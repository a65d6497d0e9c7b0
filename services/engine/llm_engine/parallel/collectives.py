"""Messages between ranks while they compute a step, over torch.distributed: gloo on CPUs, NCCL on GPUs.

Every call is counted with its bytes and seconds; a tensor of n bytes counts n, whatever the algorithm moves.
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
"""Limit on one rank's wait for another within a step; between steps no rank waits here."""


@dataclass(slots=True)
class Traffic:
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
    def __init__(self, shard: Shard, rank: int, store: Store, device: torch.device) -> None:
        """All ranks make one at the same time. A process can be a rank of one model only."""
        world = shard.tensor_size * shard.num_stages
        backend = "nccl" if device.type == "cuda" else "gloo"
        if device.type == "cuda":
            torch.cuda.set_device(device)  # where kernels are launched, too
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
        """The sum over the ranks of the stage, in place."""
        if self.shard.tensor_size > 1:
            self._timed("all_reduce", x, lambda: dist.all_reduce(x, group=self._group))
        return x

    def gather_logits(self, logits: Tensor) -> Tensor:
        """The parts of the vocabulary side by side: [rows, vocabulary / ranks] -> [rows, vocabulary]."""
        if self.shard.tensor_size == 1:
            return logits
        parts = [torch.empty_like(logits) for _ in range(self.shard.tensor_size)]
        self._timed("all_gather", logits, lambda: dist.all_gather(parts, logits.contiguous(), group=self._group))
        return torch.cat(parts, dim=-1)

    def send_on(self, x: Tensor) -> None:
        """To the same tensor rank of the next stage."""
        self._timed("send", x, lambda: dist.send(x, self._rank + self.shard.tensor_size))

    def receive(self, x: Tensor) -> Tensor:
        """Into `x`, from the stage before."""
        self._timed("receive", x, lambda: dist.recv(x, self._rank - self.shard.tensor_size))
        return x

    def bring_home(self, logits: Tensor) -> Tensor:
        """From the last stage to rank 0, where they are sampled; `logits`: they, or in rank 0 the place for them."""
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
        """One line for each kind: calls, bytes, seconds."""
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
