"""The weights of a decoder, and the type of a fused forward pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from torch import Tensor

from llm_engine.execution.batch import Batch
from llm_engine.operators.linear import Linear

FusedForward: TypeAlias = Callable[[Batch, list[Tensor]], Tensor]
"""The forward pass of a whole model in one call: batch and KV caches -> logits."""


@dataclass(frozen=True, slots=True)
class LayerWeights:
    """The weights of one layer."""

    input_norm: Tensor
    qkv: Linear
    """Query, key and value projections in one: [q_size + 2 * kv_size, hidden]."""
    qk_norms: tuple[Tensor, Tensor] | None
    """Weights of the norms of queries and keys, shared by all heads. None: no such norms."""
    o: Linear
    mlp_norm: Tensor
    gate_up: Linear
    down: Linear
    kv_scales: Tensor | None = None
    """[2, 1] float32: scales of keys and of values in an FP8 KV cache. None: 1."""


@dataclass(frozen=True, slots=True)
class DecoderWeights:
    """The weights of one rank."""

    embedding: Tensor
    """Unused on pipeline stages after the first."""
    layers: tuple[LayerWeights, ...]
    norm: Tensor
    head: Linear
    """This rank's part of the vocabulary."""
