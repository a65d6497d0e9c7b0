"""A matrix times one row: each program sums up a row or two of the weight, with many 16-byte loads in flight."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait

from llm_kernels.triton_kernels.rows import overlaps_launch


@triton.jit
def gemv_kernel(
    x, weight, bias, out, n, k, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, WITH_BIAS: tl.constexpr,
    PDL: tl.constexpr,
):  # fmt: skip
    if PDL:
        gdc_launch_dependents()
    row = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
    i = tl.arange(0, BLOCK_K)
    inside = (row < n)[:, None]
    place = weight + row[:, None].to(tl.int64) * k + i[None, :]
    # No weight is read twice, so it need not push anything out of the cache. The first ones are on their way while the
    # kernel before still computes x.
    first = tl.load(place, mask=inside & (i < k)[None, :], other=0.0, eviction_policy="evict_first")
    if PDL:
        gdc_wait()
    sums = first.to(tl.float32) * tl.load(x + i, mask=i < k, other=0.0).to(tl.float32)[None, :]
    for start in range(BLOCK_K, k, BLOCK_K):
        there = start + i < k
        activations = tl.load(x + start + i, mask=there, other=0.0).to(tl.float32)
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
            x, weight, weight if bias is None else bias, out, n, k, WITH_BIAS=bias is not None,
            PDL=overlaps_launch(x), launch_pdl=overlaps_launch(x), **options,
        )  # fmt: skip
    return out


def config(n: int, k: int) -> dict[str, int]:
    """Return the options, measured on an H100 at the shapes of Qwen3-0.6B and Llama-3-8B."""
    if k > 1024 and k < 4096:
        return {"BLOCK_N": 2, "BLOCK_K": 2048, "num_warps": 8}
    block_n = 1 if k >= 4096 and n < 16_384 else 2
    return {"BLOCK_N": block_n, "BLOCK_K": min(1024, triton.next_power_of_2(k)), "num_warps": 4}
