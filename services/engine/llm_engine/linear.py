"""A matrix multiplication with fixed weights, which on a CPU are stored the way oneDNN reads them best. Small models
spend most of their time here, and packed weights roughly halve it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

PACKED_FOR_ROWS = 16
"""oneDNN blocks the weights for about so many rows; the result is right, and quick, for any other number."""


class Linear(Protocol):
    def __call__(self, x: Tensor) -> Tensor:
        """[rows, in] -> [rows, out]"""
        ...


@dataclass(frozen=True, slots=True)
class DenseLinear:
    weight: Tensor
    """[out, in]"""
    bias: Tensor | None = None

    def __call__(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias)


@dataclass(frozen=True, slots=True)
class PackedLinear:
    weight: Tensor
    """Opaque: oneDNN's own layout."""
    bias: Tensor | None = None

    def __call__(self, x: Tensor) -> Tensor:
        result: Tensor = torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, "none", [], "")
        return result


def make_linear(weight: Tensor, bias: Tensor | None = None) -> Linear:
    """`weight` [out, in]; packed where that helps and torch can."""
    if weight.device.type != "cpu" or not _can_pack(weight.dtype):
        return DenseLinear(weight, bias)
    return PackedLinear(torch.ops.mkldnn._reorder_linear_weight(weight, PACKED_FOR_ROWS), bias)


def _can_pack(dtype: torch.dtype) -> bool:
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    if dtype is torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return dtype is torch.float32
