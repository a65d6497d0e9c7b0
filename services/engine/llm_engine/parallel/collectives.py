"""Communication between ranks within a step.

On CPUs it is gloo's, on GPUs NCCL's, both through torch.distributed. For small tensors NCCL's latency would dominate,
so GPUs take the one-shot collectives of `llm_kernels`: the sum is fused with the residual addition and the norm after
it.

Calls, bytes and seconds are counted. A tensor of n bytes counts n, however many bytes the algorithm moves. A call in a
CUDA graph counts once, when the graph is captured.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, TypeVar

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor
from torch._C._distributed_c10d import Store

from llm_engine.parallel.sharding import Shard

if TYPE_CHECKING:
    from llm_kernels.one_shot import OneShot

R = TypeVar("R")
log = logging.getLogger(__name__)
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
        self._one_shot = _one_shot(shard, store, device)

    def all_reduce(self, x: Tensor) -> Tensor:
        """Return the sum of `x` over the ranks of the stage. `x` is overwritten."""
        if self.shard.tensor_size == 1:
            return x
        if self._one_shot is not None and self._one_shot.why_not_sum(x) is None:
            return self._timed("all_reduce", x, partial(self._one_shot.sum, x))
        self._timed("all_reduce", x, partial(dist.all_reduce, x, group=self._group))
        return x

    def add_rms_norm(self, x: Tensor, delta: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor] | None:
        """Return (norm(total), total), where total is `x` plus the sum of `delta` over the ranks of the stage.

        None if one kernel cannot do all that.
        """
        if self._one_shot is None or weight.dtype != x.dtype or self._one_shot.why_not_sum(delta) is not None:
            return None
        return self._timed("all_reduce", delta, partial(self._one_shot.add_rms_norm, delta, x, weight, eps))

    def gather_logits(self, logits: Tensor) -> Tensor:
        """Concatenate the parts of the vocabulary: [rows, vocabulary / ranks] -> [rows, vocabulary].

        Only the stage's first rank is sure to get the whole.
        """
        if self.shard.tensor_size == 1:
            return logits
        logits = logits.contiguous()
        if self._one_shot is not None and self._one_shot.why_not_gather(logits) is None:
            return self._timed("gather", logits, partial(self._one_shot.gather, logits))
        is_first = self.shard.tensor_rank == 0
        parts = [torch.empty_like(logits) for _ in range(self.shard.tensor_size)] if is_first else None
        first = self._rank - self.shard.tensor_rank
        self._timed("gather", logits, partial(dist.gather, logits, parts, dst=first, group=self._group))
        return logits if parts is None else torch.cat(parts, dim=-1)

    def broadcast(self, token_ids: Tensor) -> Tensor:
        """Return rank 0's `token_ids` [tokens] in all ranks."""
        if self._one_shot is not None and self.shard.num_stages == 1:
            padded = F.pad(token_ids, (0, -len(token_ids) % 2))  # to a multiple of 16 bytes
            if self._one_shot.why_not_gather(padded) is None:
                return self._timed("broadcast", padded, partial(self._one_shot.gather, padded))[: len(token_ids)]
        self._timed("broadcast", token_ids, partial(dist.broadcast, token_ids, src=0))
        return token_ids

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

    def _timed(self, name: str, x: Tensor, call: Callable[[], R]) -> R:
        started = time.monotonic()
        result = call()
        traffic = self.traffic.setdefault(name, Traffic())
        traffic.calls += 1
        num_bytes, ended = x.numel() * x.element_size(), time.monotonic()
        traffic.num_bytes += num_bytes
        traffic.seconds += ended - started
        if self.calls is not None:
            self.calls.append(Call(name, started, ended, num_bytes))
        return result


def _one_shot(shard: Shard, store: Store, device: torch.device) -> OneShot | None:
    """Connect the GPUs of the stage for the one-shot collectives. None if NCCL has to do."""
    if shard.tensor_size == 1 or device.type != "cuda" or find_spec("llm_kernels") is None:
        return None
    from llm_kernels import one_shot

    first = shard.stage * shard.tensor_size
    devices = [torch.device("cuda", first + rank) for rank in range(shard.tensor_size)]
    if reason := one_shot.why_not(devices, device):
        log.warning("no one-shot collectives: %s; NCCL takes their place, which is slower for small tensors", reason)
        return None

    def exchange(handle: bytes) -> list[bytes]:
        names = [f"one-shot/{shard.stage}/{rank}" for rank in range(shard.tensor_size)]
        store.set(names[shard.tensor_rank], handle.hex())
        return [bytes.fromhex(store.get(name).decode()) for name in names]

    return one_shot.OneShot(shard.tensor_rank, shard.tensor_size, device, exchange)
