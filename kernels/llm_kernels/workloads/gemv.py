"""A matrix times one row."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from llm_kernels.dispatch import Args
from llm_kernels.workloads.base import Cost, Workload, normal

BF16, FP16, FP32 = torch.bfloat16, torch.float16, torch.float32


def small() -> list[Workload]:
    shapes = ((1, 1), (7, 33), (64, 3000), (5, 5000))
    found = [_gemv(n, k, dtype, bias) for n, k in shapes for dtype in (FP32, FP16) for bias in (False, True)]
    return [*found, _gemv(40, 200, BF16, True)]


def large() -> list[Workload]:
    return [_gemv(6144, 4096, BF16), _gemv(28_672, 4096, BF16), _gemv(4096, 14_336, BF16), _gemv(1024, 2048, BF16)]


def _gemv(n: int, k: int, dtype: torch.dtype, with_bias: bool = False) -> Workload:
    def make(g: torch.Generator, device: torch.device) -> Args:
        x, weight = normal(g, (1, k), dtype, device), normal(g, (n, k), dtype, device)
        return x, weight, normal(g, (n,), dtype, device) if with_bias else None

    def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return F.linear(x, weight, bias)

    cost = Cost((n * k + n + k) * dtype.itemsize, 2 * n * k, "fp32")
    libraries: dict[str, Callable[..., Any]] = {"cuBLAS": linear}
    label = f"1x{k} times {n}x{k}{' bias' if with_bias else ''}"
    return Workload("gemv", label, dtype, make, cost, native=linear, libraries=libraries)
