"""The weights of a decoder, and the form of a step in one call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from torch import Tensor

from llm_engine.execution.batch import Batch
from llm_engine.operators.linear import Linear

FusedForward: TypeAlias = Callable[[Batch, list[Tensor]], Tensor]
"""`DecoderModel.forward` of a whole model: batch and caches -> logits."""


@dataclass(frozen=True, slots=True)
class LayerWeights:
    input_norm: Tensor
    qkv: Linear
    """Query, key and value projections in one: [q_size + 2 * kv_size, hidden]."""
    qk_norms: tuple[Tensor, Tensor] | None
    """Weights of the norms of each head's queries and keys."""
    o: Linear
    mlp_norm: Tensor
    gate_up: Linear
    down: Linear


@dataclass(frozen=True, slots=True)
class DecoderWeights:
    embedding: Tensor
    """Unused on pipeline stages after the first."""
    layers: tuple[LayerWeights, ...]
    norm: Tensor
    head: Linear
    """This rank's part of the vocabulary."""
