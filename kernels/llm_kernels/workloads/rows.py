"""Row-wise and element-wise ops: norms, activations, softmax, quantize."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from llm_kernels.dispatch import Args
from llm_kernels.workloads.base import Compiled, Cost, Workload, normal

BF16, FP16, FP32 = torch.bfloat16, torch.float16, torch.float32
RAGGED = ((1, 1), (3, 7), (2, 64), (5, 100), (4, 257))
"""[rows, n] that no block size divides."""


def small() -> list[Workload]:
    found = []
    for rows, n in RAGGED:
        for dtype in (FP32, FP16):
            found += [_rms(rows, n, dtype), _add_rms(rows, n, dtype), _layer(rows, n, dtype, n % 2 == 0)]
            found += [_silu(rows, n, dtype), _gelu(rows, n, dtype, "tanh"), _gelu(rows, n, dtype, "none")]
            found += [_softmax(rows, n, dtype), _quantize(rows, n, dtype, torch.int8)]
            found += [_quantize(rows, n, dtype, torch.float8_e4m3fn)]
    found += [_rms(3, 200, BF16), _add_rms(3, 200, BF16), _layer(3, 200, BF16, True), _silu(3, 200, BF16)]
    found += [_gelu(3, 200, BF16, "tanh"), _softmax(3, 200, BF16), _softmax(2, 20_001, FP32), _rms(0, 8, FP32)]
    return [*found, _quantize(3, 200, BF16, torch.int8)]


def large() -> list[Workload]:
    found = [_rms(8192, 4096, BF16), _rms(8192, 8192, BF16)]
    found += [_add_rms(8192, 4096, BF16), _add_rms(8192, 8192, BF16), _layer(8192, 4096, BF16, True)]
    found += [_silu(8192, 14336, BF16), _gelu(8192, 14336, BF16, "tanh")]
    found += [_softmax(8192, 4096, BF16), _softmax(8192, 8192, BF16), _softmax(256, 128_256, FP32)]
    found += [_quantize(8192, 4096, BF16, to) for to in (torch.int8, torch.float8_e4m3fn)]
    return found


def _rms(rows: int, n: int, dtype: torch.dtype) -> Workload:
    def make(g: torch.Generator, device: torch.device) -> Args:
        return normal(g, (rows, n), dtype, device), normal(g, (n,), dtype, device), 1e-6

    def torch_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
        return F.rms_norm(x, weight.shape, weight, eps)

    cost = Cost((2 * rows * n + n) * dtype.itemsize)
    return Workload("rms_norm", f"{rows}x{n}", dtype, make, cost, libraries=_with_compiled("torch", torch_norm))


def _add_rms(rows: int, n: int, dtype: torch.dtype) -> Workload:
    def make(g: torch.Generator, device: torch.device) -> Args:
        x, residual = normal(g, (rows, n), dtype, device), normal(g, (rows, n), dtype, device)
        return x, residual, normal(g, (n,), dtype, device), 1e-6

    def torch_add_norm(x: Tensor, residual: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
        total = x + residual
        return F.rms_norm(total, weight.shape, weight, eps), total

    cost = Cost((4 * rows * n + n) * dtype.itemsize)
    libraries = _with_compiled("torch", torch_add_norm)
    return Workload("fused_add_rms_norm", f"{rows}x{n}", dtype, make, cost, libraries=libraries)


def _layer(rows: int, n: int, dtype: torch.dtype, with_bias: bool) -> Workload:
    def make(g: torch.Generator, device: torch.device) -> Args:
        bias = normal(g, (n,), dtype, device) if with_bias else None
        return normal(g, (rows, n), dtype, device), normal(g, (n,), dtype, device), bias, 1e-5

    def torch_norm(x: Tensor, weight: Tensor, bias: Tensor | None, eps: float) -> Tensor:
        return F.layer_norm(x, weight.shape, weight, bias, eps)

    cost = Cost((2 * rows * n + 2 * n) * dtype.itemsize)
    return Workload("layer_norm", f"{rows}x{n}", dtype, make, cost, libraries=_with_compiled("torch", torch_norm))


def _silu(rows: int, n: int, dtype: torch.dtype) -> Workload:
    def make(g: torch.Generator, device: torch.device) -> Args:
        return (normal(g, (rows, 2 * n), dtype, device),)

    def torch_silu(x: Tensor) -> Tensor:
        gate, up = x.chunk(2, dim=-1)
        return F.silu(gate) * up

    cost = Cost(3 * rows * n * dtype.itemsize)
    return Workload("silu_and_mul", f"{rows}x{n}", dtype, make, cost, libraries=_with_compiled("torch", torch_silu))


def _gelu(rows: int, n: int, dtype: torch.dtype, approximate: str) -> Workload:
    def make(g: torch.Generator, device: torch.device) -> Args:
        return normal(g, (rows, 2 * n), dtype, device), approximate

    def torch_gelu(x: Tensor, approximate: str) -> Tensor:
        gate, up = x.chunk(2, dim=-1)
        return F.gelu(gate, approximate=approximate) * up

    label, cost = f"{rows}x{n} {approximate}", Cost(3 * rows * n * dtype.itemsize)
    return Workload("gelu_and_mul", label, dtype, make, cost, libraries=_with_compiled("torch", torch_gelu))


def _softmax(rows: int, n: int, dtype: torch.dtype) -> Workload:
    def make(g: torch.Generator, device: torch.device) -> Args:
        return (normal(g, (rows, n), dtype, device, 3.0),)

    def torch_softmax(x: Tensor) -> Tensor:
        return torch.softmax(x, dim=-1)

    cost = Cost(2 * rows * n * dtype.itemsize)
    return Workload("softmax", f"{rows}x{n}", dtype, make, cost, libraries=_with_compiled("torch", torch_softmax))


def _quantize(rows: int, n: int, dtype: torch.dtype, to: torch.dtype) -> Workload:
    def make(g: torch.Generator, device: torch.device) -> Args:
        x = normal(g, (rows, n), dtype, device)
        x[-1] = 0  # a row of zeros
        return x, to

    def torch_quantize(x: Tensor, to: torch.dtype) -> tuple[Tensor, Tensor]:
        xf, largest = x.float(), 127.0 if to == torch.int8 else 448.0
        scale = xf.abs().amax(-1, keepdim=True).clamp(min=1e-12) / largest
        scaled = (xf / scale).clamp(-largest, largest)
        return (scaled.round() if to == torch.int8 else scaled).to(to), scale.squeeze(-1)

    def verify(args: Args, result: Any) -> str | None:
        (x, _), (q, scale) = args, result
        double, widest = x.double(), x.double().abs().amax(-1)
        largest = 127.0 if to == torch.int8 else 448.0
        wanted = torch.where(widest > 0, widest / largest, 1.0)
        if not torch.allclose(scale.double(), wanted, rtol=1e-6):
            return "a scale is not max|row| / largest"
        # Half a step: 0.5 for int8; for e4m3 (3 mantissa bits) 2^-4 of the value, or half of 2^-9, its least step.
        step = 0.5 if to == torch.int8 else ((double / wanted.unsqueeze(1)).abs() * 2**-4).clamp(min=2**-10)
        off = (q.double() - double / wanted.unsqueeze(1)).abs() / (step * (1 + 1e-4) + 1e-6)
        return None if bool((off <= 1).all()) else f"an element is {float(off.max()):.3f} half steps off its value"

    label, cost = f"{rows}x{n} to {str(to).removeprefix('torch.')}", Cost(rows * (n * (dtype.itemsize + 1) + 4))
    libraries = _with_compiled("torch", torch_quantize)
    return Workload("quantize_per_token", label, dtype, make, cost, libraries=libraries, verify=verify)


def _with_compiled(name: str, function: Any) -> dict[str, Any]:
    """Return the function as torch runs it, and compiled by torch.compile."""
    return {name: function, "torch.compile": Compiled(function)}
