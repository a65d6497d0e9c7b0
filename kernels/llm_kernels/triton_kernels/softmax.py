"""Softmax: rows up to 16,384 in registers (one read, one write); longer ones in two passes with a running maximum and
sum (Milakov & Gimelshein, "Online normalizer calculation for softmax", 2018)."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from llm_kernels.triton_kernels.rows import as_rows, row_warps

LONGEST_IN_REGISTERS = 16_384


@triton.jit
def softmax_kernel(x, out, x_stride, n, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    i = tl.arange(0, BLOCK)
    inside = i < n
    xf = tl.load(x + row * x_stride + i, mask=inside, other=float("-inf")).to(tl.float32)
    e = tl.exp(xf - tl.max(xf, axis=0))
    tl.store(out + row * n + i, (e / tl.sum(e, axis=0)).to(out.dtype.element_ty), mask=inside)


@triton.jit
def online_softmax_kernel(x, out, x_stride, n, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    x += row * x_stride
    out += row * n
    i = tl.arange(0, BLOCK)
    # Each lane keeps a maximum and a sum of its own; they meet once, after the loop.
    maxima = tl.full([BLOCK], float("-inf"), tl.float32)
    sums = tl.zeros([BLOCK], tl.float32)
    for start in range(0, n, BLOCK):
        xf = tl.load(x + start + i, mask=start + i < n, other=float("-inf")).to(tl.float32)
        larger = tl.maximum(maxima, xf)
        seen = larger > float("-inf")
        sums = tl.where(seen, sums * tl.exp(maxima - larger) + tl.exp(xf - larger), 0.0)
        maxima = larger
    top = tl.max(maxima, axis=0)
    total = tl.sum(tl.where(maxima > float("-inf"), sums * tl.exp(maxima - top), 0.0), axis=0)
    for start in range(0, n, BLOCK):
        xf = tl.load(x + start + i, mask=start + i < n, other=float("-inf")).to(tl.float32)
        tl.store(out + start + i, (tl.exp(xf - top) / total).to(out.dtype.element_ty), mask=start + i < n)


def softmax(x: Tensor) -> Tensor:
    rows, out = as_rows(x), torch.empty(x.shape, dtype=x.dtype, device=x.device)
    count, n = rows.shape
    if not count:
        return out
    if n <= LONGEST_IN_REGISTERS:
        block = triton.next_power_of_2(n)
        softmax_kernel[(count,)](rows, out, rows.stride(0), n, BLOCK=block, num_warps=row_warps(block))
    else:
        online_softmax_kernel[(count,)](rows, out, rows.stride(0), n, BLOCK=4096, num_warps=8)
    return out
