"""A matrix times one row: each program sums up a row or two of the weight, with many 16-byte loads in flight."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor


@triton.jit
def gemv_kernel(x, weight, bias, out, n, k, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, WITH_BIAS: tl.constexpr):
    row = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
    i = tl.arange(0, BLOCK_K)
    inside = (row < n)[:, None]
    place = weight + row[:, None].to(tl.int64) * k + i[None, :]
    sums = tl.zeros([BLOCK_N, BLOCK_K], tl.float32)
    for start in range(0, k, BLOCK_K):
        there = start + i < k
        activations = tl.load(x + start + i, mask=there, other=0.0).to(tl.float32)
        # Nobody reads a weight twice: it need not push anything out of the cache.
        w = tl.load(place + start, mask=inside & there[None, :], other=0.0, eviction_policy="evict_first")
        sums += w.to(tl.float32) * activations[None, :]
    total = tl.sum(sums, axis=1)
    if WITH_BIAS:
        total += tl.load(bias + row, mask=row < n, other=0.0).to(tl.float32)
    tl.store(out + row, total.to(out.dtype.element_ty), mask=row < n)


def gemv(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    n, k = weight.shape
    out = torch.empty((1, n), dtype=x.dtype, device=x.device)
    if n:
        options = config(n, k)
        gemv_kernel[(triton.cdiv(n, options["BLOCK_N"]),)](
            x, weight, weight if bias is None else bias, out, n, k, WITH_BIAS=bias is not None, **options
        )
    return out


def config(n: int, k: int) -> dict[str, int]:
    """Return the options, measured on an H100 at the shapes of Qwen3-0.6B and Llama-3-8B."""
    if k > 1024 and k < 4096:
        return {"BLOCK_N": 2, "BLOCK_K": 2048, "num_warps": 8}
    block_n = 1 if k >= 4096 and n < 16_384 else 2
    return {"BLOCK_N": block_n, "BLOCK_K": min(1024, triton.next_power_of_2(k)), "num_warps": 4}
