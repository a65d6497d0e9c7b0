"""Per-token quantization: one program a row, one read, one narrow write."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from llm_kernels.triton_kernels.rows import row_warps


@triton.jit
def _round_to_e4m3(x):
    """Round half to even at 3 mantissa bits, or at multiples of 2^-9 below 2^-6, so that the conversion is exact:
    the interpreter's own rounding is wrong where the mantissa overflows."""
    bits = x.to(tl.int32, bitcast=True)
    normal = ((bits + 0x7FFFF + ((bits >> 20) & 1)) & -0x100000).to(tl.float32, bitcast=True)
    subnormal = (x + 24576.0) - 24576.0
    return tl.where(tl.abs(x) < 0.015625, subnormal, normal)


@triton.jit
def quantize_per_token_kernel(
    x, q, scales, x_stride, k, LARGEST: tl.constexpr, TO_INT: tl.constexpr, BLOCK: tl.constexpr
):
    row = tl.program_id(0).to(tl.int64)
    i = tl.arange(0, BLOCK)
    xf = tl.load(x + row * x_stride + i, mask=i < k, other=0.0).to(tl.float32)
    top = tl.max(tl.abs(xf), axis=0)
    scale = tl.where(top > 0, tl.div_rn(top, LARGEST), 1.0)
    scaled = tl.div_rn(xf, tl.broadcast_to(scale, [BLOCK]))
    scaled = tl.minimum(tl.maximum(scaled, -LARGEST), LARGEST)
    if TO_INT:
        # Adding and taking away 1.5 * 2^23 rounds to an integer, half to even.
        scaled = (scaled + 12582912.0) - 12582912.0
        tl.store(q + row * k + i, scaled.to(tl.int32).to(tl.int8), mask=i < k)
    else:
        tl.store(q + row * k + i, _round_to_e4m3(scaled).to(tl.float8e4nv), mask=i < k)
    tl.store(scales + row, scale)


def quantize_per_token(x: Tensor, dtype: torch.dtype, largest: float) -> tuple[Tensor, Tensor]:
    rows, k = x.shape
    q = torch.empty((rows, k), dtype=dtype, device=x.device)
    scales = torch.empty(rows, dtype=torch.float32, device=x.device)
    if rows:
        block = triton.next_power_of_2(k)
        quantize_per_token_kernel[(rows,)](
            x, q, scales, x.stride(0), k, LARGEST=largest, TO_INT=dtype == torch.int8, BLOCK=block,
            num_warps=row_warps(block),
        )  # fmt: skip
    return q, scales
