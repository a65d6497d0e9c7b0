"""The KV cache as memory: a tensor for each layer on the device, and, for swapping, as many in host memory."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


class Move(Enum):
    COPY = auto()
    """Device to device."""
    OUT = auto()
    """Device to host."""
    IN = auto()
    """Host to device."""


@dataclass(frozen=True, slots=True)
class BlockCopy:
    """One block is copied before the step is computed."""

    source: int
    target: int
    move: Move = Move.COPY


@dataclass(frozen=True, slots=True)
class KVMemory:
    device: list[Tensor]
    """Per layer [blocks, block_size, 2 (K, V), kv_heads, head_dim]."""
    host: list[Tensor]

    def copy(self, copies: list[BlockCopy]) -> None:
        """In order: a later copy may read what an earlier one wrote."""
        for copy in copies:
            for device, host in zip(self.device, self.host, strict=True):
                source = host if copy.move is Move.IN else device
                target = host if copy.move is Move.OUT else device
                target[copy.target].copy_(source[copy.source])
