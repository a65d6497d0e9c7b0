"""The KV cache's memory: one tensor per layer on the device, and one per layer in host memory for swapping."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


class Move(Enum):
    """Where a block is copied from and to."""

    COPY = auto()
    """Device to device."""
    OUT = auto()
    """Device to host."""
    IN = auto()
    """Host to device."""


@dataclass(frozen=True, slots=True)
class BlockCopy:
    """The copy of one block, made before a step is computed."""

    source: int
    target: int
    move: Move = Move.COPY


@dataclass(frozen=True, slots=True)
class KVMemory:
    """The KV tensors of one model."""

    device: list[Tensor]
    """Per layer [blocks, block_size, 2 (K, V), kv_heads, head_dim]."""
    host: list[Tensor]
    """The same for swapped blocks; 0 blocks without swapping."""

    def copy(self, copies: list[BlockCopy]) -> None:
        """Make the copies in order: a later copy can read what an earlier one wrote."""
        for copy in copies:
            for device, host in zip(self.device, self.host, strict=True):
                source = host if copy.move is Move.IN else device
                target = host if copy.move is Move.OUT else device
                target[copy.target].copy_(source[copy.source])
