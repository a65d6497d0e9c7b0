"""Linear layers: matrix multiplications with fixed weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch.nn.functional as F
from torch import Tensor


class Linear(Protocol):
    """A linear layer."""

    def __call__(self, x: Tensor) -> Tensor:
        """Multiply: [rows, in] -> [rows, out]."""
        ...


@dataclass(frozen=True, slots=True)
class DenseLinear:
    """A linear layer in plain torch."""

    weight: Tensor
    """[out, in]"""
    bias: Tensor | None = None

    def __call__(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias)


@dataclass(frozen=True, slots=True)
class KernelLinear(DenseLinear):
    """A linear layer that uses a GEMV kernel, faster than cuBLAS, for a single row: the decode of one sequence."""

    def __call__(self, x: Tensor) -> Tensor:
        from llm_kernels import ops

        return ops.gemv(x, self.weight, self.bias) if len(x) == 1 else F.linear(x, self.weight, self.bias)


def make_linear(weight: Tensor, bias: Tensor | None = None, backend: str = "torch") -> Linear:
    """Make a linear layer for `backend` from `weight` [out, in].

    With torch on a CPU the memory layout is [in, out], which is faster for few rows.
    """
    if backend == "cpp":
        from llm_kernels.cpu import PackedLinear

        return PackedLinear.of(weight, bias)
    laid_out = weight.T.contiguous().T if weight.device.type == "cpu" else weight
    return (KernelLinear if backend == "triton" else DenseLinear)(laid_out, bias)
