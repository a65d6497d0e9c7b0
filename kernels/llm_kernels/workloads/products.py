"""Matrix products: 16-bit, 8-bit, 4-bit weights."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from llm_kernels import layouts
from llm_kernels.dispatch import Args
from llm_kernels.workloads.base import Cost, Workload, integers, normal, uniform

BF16, FP16, FP32, FP8 = torch.bfloat16, torch.float16, torch.float32, torch.float8_e4m3fn


def small() -> list[Workload]:
    shapes = ((1, 1, 1), (3, 5, 7), (17, 33, 65), (64, 48, 100))
    found = [_gemm(*shape, dtype) for shape in shapes for dtype in (FP32, FP16)]
    found += [_gemm(128, 256, 64, BF16), _gemm(256, 512, 192, BF16)]  # shapes of the CUDA kernel; bf16 is for a GPU
    found += [
        _scaled(*shape, dtype, FP32)
        for shape in ((1, 1, 16), (17, 33, 80), (40, 70, 256))
        for dtype in (torch.int8, FP8)
    ]
    for shape in ((128, 256, 128), (256, 512, 384)):  # those of the CUDA kernel
        found += [_scaled(*shape, dtype, BF16) for dtype in (torch.int8, FP8)]
    for layout in layouts.FORMATS:
        for zeros in (False, True):
            found.append(_w4a16(3, 32, 256, 128, layout, zeros, FP16))
        few, some = (128, 128) if layout == "fragments" else (32, 64)
        found += [_w4a16(1, 16, 128, few, layout, True, FP32), _w4a16(20, 48, 256, some, layout, True, FP16)]
        found.append(_w4a16(2, 64, 512, 512, layout, True, BF16))
    for m, n, k, dtype in ((16, 32, 1024, FP16), (30, 144, 1152, BF16), (70, 272, 640, BF16), (1, 48, 2048, FP16)):
        found.append(_w4a16(m, n, k, 128, "fragments", True, dtype))
    return found


def large() -> list[Workload]:
    found = [_gemm(4096, 4096, 4096, BF16), _gemm(8192, 8192, 8192, BF16)]
    found += [_scaled(4096, 4096, 4096, dtype, BF16) for dtype in (torch.int8, FP8)]
    found += [_scaled(16, 14336, 4096, torch.int8, BF16)]
    for m in (1, 4, 16, 32, 64, 256):
        found.append(_w4a16(m, 4096, 14336, 128, "fragments", True, BF16))
    found += [_w4a16(1, 14336, 4096, 128, "fragments", False, BF16)]
    found += [
        _w4a16(m, 4096, 14336, 128, layout, True, BF16)
        for m in (1, 64)
        for layout in ("gptq", "awq", "compressed-tensors")
    ]
    return found


def _gemm(m: int, n: int, k: int, dtype: torch.dtype) -> Workload:
    def make(g: torch.Generator, device: torch.device) -> Args:
        return normal(g, (m, k), dtype, device), normal(g, (n, k), dtype, device)

    def cublas(x: Tensor, weight: Tensor) -> Tensor:
        return x @ weight.T

    cost = Cost((m * k + n * k + m * n) * dtype.itemsize, 2.0 * m * n * k)
    return Workload("gemm", f"{m}x{n}x{k}", dtype, make, cost, libraries={"cuBLAS": cublas})


def _scaled(m: int, n: int, k: int, dtype: torch.dtype, out_dtype: torch.dtype) -> Workload:
    def make(g: torch.Generator, device: torch.device) -> Args:
        if dtype == torch.int8:
            x, w = (integers(g, -127, 128, (rows, k), torch.int8, device) for rows in (m, n))
        else:
            x, w = (normal(g, (rows, k), FP32, device).to(FP8) for rows in (m, n))
        scales = (uniform(g, (rows,), device) * 0.01 + 0.001 for rows in (m, n))
        return x, w, *scales, out_dtype

    def library(x: Tensor, w: Tensor, x_scale: Tensor, w_scale: Tensor, to: torch.dtype) -> Tensor:
        if dtype == torch.int8:
            return (torch._int_mm(x, w.T).float() * x_scale[:, None] * w_scale).to(to)
        return torch._scaled_mm(x, w.T, x_scale[:, None], w_scale[None, :], out_dtype=to, use_fast_accum=True)

    def bf16_product(x: Tensor, w: Tensor, x_scale: Tensor, w_scale: Tensor, to: torch.dtype) -> Tensor:
        return random_operand(m, k, BF16, x.device) @ random_operand(n, k, BF16, x.device).T

    cost = Cost(
        (m + n) * (k + 4) + m * n * out_dtype.itemsize, 2.0 * m * n * k, "int8" if dtype == torch.int8 else "fp8"
    )
    name = "torch._int_mm + scales" if dtype == torch.int8 else "torch._scaled_mm"
    # e4m3 products are summed by the tensor core with about 13 bits below the largest term.
    slack = 0.0 if dtype == torch.int8 else 2e-3
    libraries = {name: library, "cuBLAS bf16": bf16_product}
    return Workload("scaled_gemm", f"{m}x{n}x{k}", dtype, make, cost, libraries=libraries, slack=slack)


@functools.lru_cache(maxsize=4)
def random_operand(rows: int, columns: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return a 16-bit operand for speed comparisons, made once."""
    return torch.randn(rows, columns, device=device).to(dtype)


def _w4a16(m: int, n: int, k: int, group: int, layout: str, with_zeros: bool, dtype: torch.dtype) -> Workload:
    padded_n, padded_k = (n, k) if layout != "fragments" else (-(-n // 16) * 16, -(-k // 128) * 128)

    def make(g: torch.Generator, device: torch.device) -> Args:
        values = integers(g, 0, 16, (padded_n, padded_k), torch.uint8, device)
        groups = padded_k // group
        scales = (uniform(g, (groups, padded_n), device) * 0.02 + 0.001).to(dtype)
        zeros = integers(g, 0, 16, (groups, padded_n), torch.uint8, device) if with_zeros else None
        x = normal(g, (m, padded_k), dtype, device)
        return x, layouts.pack_weight(values, layout), scales, zeros, layout

    def dequantized(x: Tensor, qweight: Tensor, scales: Tensor, zeros: Tensor | None, layout: str) -> Tensor:
        return x @ layouts.dequantize(layouts.W4(layout, qweight, scales, zeros)).to(x.dtype).T

    def bf16_product(x: Tensor, qweight: Tensor, scales: Tensor, zeros: Tensor | None, layout: str) -> Tensor:
        return x @ random_operand(padded_n, padded_k, x.dtype, x.device).T

    weight = padded_n * padded_k // 2 + padded_k // group * padded_n * (dtype.itemsize + with_zeros)
    cost = Cost(weight + m * (padded_k + padded_n) * dtype.itemsize, 2.0 * m * padded_n * padded_k)
    label = f"{m}x{padded_n}x{padded_k} g{group} {layout}{' zeros' if with_zeros else ''}"
    libraries = {"cuBLAS bf16": bf16_product}
    return Workload("w4a16_gemm", label, dtype, make, cost, native=dequantized, libraries=libraries)
