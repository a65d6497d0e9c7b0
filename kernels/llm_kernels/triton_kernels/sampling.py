"""Top-k and top-p sampling without a sort: the cut is a threshold, and a threshold can be searched for.

A token is kept if its logit is at least t. For top-k, t is the largest value that at least k logits reach; for top-p,
the largest whose logits hold at least p of the mass. Both fall as t rises, so t is found by search over the values
themselves: three pivots a pass cut the interval in four, and the interval's ends are drawn in to logits that exist, so
the search ends when none is left between them. About ten passes over a row that stays in L2 take the place of a sort.
Idea: FlashInfer's sorting-free sampling (2025), which rejects instead of searching.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from llm_kernels.triton_kernels.draw import place_in_chunk


@triton.jit
def _amount(logits, vocabulary, top, floor, COUNT: tl.constexpr, BLOCK: tl.constexpr):
    """Count the logits that are at least `floor` (COUNT), or sum their mass, exp(x - top)."""
    i = tl.arange(0, BLOCK)
    amounts = tl.zeros([BLOCK], tl.float32)
    for start in range(0, vocabulary, BLOCK):
        x = tl.load(logits + start + i, mask=start + i < vocabulary, other=float("-inf")).to(tl.float32)
        amounts += tl.where(x >= floor, 1.0 if COUNT else tl.exp(x - top), 0.0)
    return tl.sum(amounts, axis=0)


@triton.jit
def _reach(logits, vocabulary, top, floor, p1, p2, p3, COUNT: tl.constexpr, BLOCK: tl.constexpr):
    """Measure the logits >= floor for each of three pivots in one pass.

    Return the mass that reaches a pivot, the least logit that does, and the greatest that does not.
    """
    i = tl.arange(0, BLOCK)
    a1 = tl.zeros([BLOCK], tl.float32)
    a2 = tl.zeros([BLOCK], tl.float32)
    a3 = tl.zeros([BLOCK], tl.float32)
    l1 = tl.full([BLOCK], float("inf"), tl.float32)
    l2 = tl.full([BLOCK], float("inf"), tl.float32)
    l3 = tl.full([BLOCK], float("inf"), tl.float32)
    g1 = tl.full([BLOCK], float("-inf"), tl.float32)
    g2 = tl.full([BLOCK], float("-inf"), tl.float32)
    g3 = tl.full([BLOCK], float("-inf"), tl.float32)
    for start in range(0, vocabulary, BLOCK):
        x = tl.load(logits + start + i, mask=start + i < vocabulary, other=float("-inf")).to(tl.float32)
        x = tl.where(x >= floor, x, float("-inf"))
        amount = tl.where(x >= floor, 1.0, 0.0) if COUNT else tl.exp(x - top)
        a1 += tl.where(x >= p1, amount, 0.0)
        a2 += tl.where(x >= p2, amount, 0.0)
        a3 += tl.where(x >= p3, amount, 0.0)
        l1 = tl.minimum(l1, tl.where(x >= p1, x, float("inf")))
        l2 = tl.minimum(l2, tl.where(x >= p2, x, float("inf")))
        l3 = tl.minimum(l3, tl.where(x >= p3, x, float("inf")))
        g1 = tl.maximum(g1, tl.where(x >= p1, float("-inf"), x))
        g2 = tl.maximum(g2, tl.where(x >= p2, float("-inf"), x))
        g3 = tl.maximum(g3, tl.where(x >= p3, float("-inf"), x))
    return (
        tl.sum(a1, axis=0), tl.sum(a2, axis=0), tl.sum(a3, axis=0),
        tl.min(l1, axis=0), tl.min(l2, axis=0), tl.min(l3, axis=0),
        tl.max(g1, axis=0), tl.max(g2, axis=0), tl.max(g3, axis=0),
    )  # fmt: skip


@triton.jit
def _threshold(logits, vocabulary, top, least, floor, wanted, COUNT: tl.constexpr, BLOCK: tl.constexpr):
    """Return the greatest logit t >= floor such that the logits >= t amount to at least `wanted`.

    Invariant: `low` and `high` are logits, enough reaches `low`, and no greater one than `high` has enough. Each pass
    moves an end: above a pivot that enough reaches, or below one that it does not.
    """
    low, high = least, top
    while low < high:
        quarter = (high - low) * 0.25
        p1, p2, p3 = low + quarter, low + 2.0 * quarter, low + 3.0 * quarter
        p3 = tl.where(p3 > low, p3, high)  # neighbours in float32: the upper one decides
        a1, a2, a3, l1, l2, l3, g1, g2, g3 = _reach(logits, vocabulary, top, floor, p1, p2, p3, COUNT, BLOCK)
        new_low = tl.where(a3 >= wanted, l3, tl.where(a2 >= wanted, l2, tl.where(a1 >= wanted, l1, low)))
        new_high = tl.where(a3 >= wanted, high, tl.where(a2 >= wanted, g3, tl.where(a1 >= wanted, g2, g1)))
        low, high = new_low, tl.maximum(new_low, new_high)
    return low


@triton.jit
def sample_top_k_top_p_kernel(logits, top_k, top_p, uniform, out, logits_stride, vocabulary, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    logits += row * logits_stride
    i = tl.arange(0, BLOCK)
    maxima = tl.full([BLOCK], float("-inf"), tl.float32)
    minima = tl.full([BLOCK], float("inf"), tl.float32)
    for start in range(0, vocabulary, BLOCK):
        x = tl.load(logits + start + i, mask=start + i < vocabulary, other=float("-inf")).to(tl.float32)
        maxima = tl.maximum(maxima, x)
        minima = tl.minimum(minima, tl.where(x > float("-inf"), x, float("inf")))
    top, least = tl.max(maxima, axis=0), tl.min(minima, axis=0)

    floor = least
    k = tl.load(top_k + row).to(tl.int32)
    if (k > 0) & (k < vocabulary):
        # With fewer than k finite logits every one is kept.
        finite = _amount(logits, vocabulary, top, least, True, BLOCK)
        if finite > k:
            floor = _threshold(logits, vocabulary, top, least, least, k.to(tl.float32), True, BLOCK)
    total = _amount(logits, vocabulary, top, floor, False, BLOCK)
    p = tl.load(top_p + row).to(tl.float32)
    if p < 1.0:
        floor = _threshold(logits, vocabulary, top, floor, floor, p * total, False, BLOCK)
        total = _amount(logits, vocabulary, top, floor, False, BLOCK)

    target = tl.load(uniform + row).to(tl.float32) * total
    before, chosen, start = 0.0, -1, 0
    while start < vocabulary:
        x = tl.load(logits + start + i, mask=start + i < vocabulary, other=float("-inf")).to(tl.float32)
        weights = tl.where(x >= floor, tl.exp(x - top), 0.0)
        here = tl.sum(weights, axis=0)
        if here > 0:
            chosen = tl.where(before <= target, place_in_chunk(weights, start + i, before, target), chosen)
        before += here
        start += BLOCK
        if before > target:
            start = vocabulary
    tl.store(out + row, tl.cast(chosen, tl.int64))


def sample_top_k_top_p(logits: Tensor, top_k: Tensor, top_p: Tensor, uniform: Tensor) -> Tensor:
    rows, vocabulary = logits.shape
    out = torch.empty(rows, dtype=torch.int64, device=logits.device)
    if rows:
        block = min(4096, triton.next_power_of_2(vocabulary))
        sample_top_k_top_p_kernel[(rows,)](
            logits, top_k, top_p, uniform, out, logits.stride(0), vocabulary, BLOCK=block, num_warps=16
        )
    return out


@triton.jit
def sample_chunks_kernel(
    logits, temperature, tops, masses, places, logits_stride, vocabulary, chunks, BLOCK: tl.constexpr
):
    """Find each chunk's greatest logit, its first place, and the chunk's mass relative to it."""
    row, chunk = tl.program_id(0).to(tl.int64), tl.program_id(1)
    i = chunk * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(logits + row * logits_stride + i, mask=i < vocabulary, other=float("-inf")).to(tl.float32)
    top = tl.max(x, axis=0)
    t = tl.load(temperature + row).to(tl.float32)
    weights = tl.exp((x - tl.where(top == float("-inf"), 0.0, top)) / tl.where(t > 0, t, 1.0))
    at = row * chunks + chunk
    tl.store(tops + at, top)
    tl.store(masses + at, tl.sum(weights, axis=0))
    tl.store(places + at, tl.min(tl.where(x == top, i, vocabulary - 1), axis=0))


@triton.jit
def sample_row_kernel(
    logits, temperature, uniform, tops, masses, places, out, logits_stride, vocabulary, chunks, BLOCK: tl.constexpr,
    CHUNKS: tl.constexpr,
):  # fmt: skip
    """Find the chunk that the uniform number falls into, and the place in it; at temperature 0 the greatest logit."""
    row = tl.program_id(0).to(tl.int64)
    c = tl.arange(0, CHUNKS)
    each = tl.load(tops + row * chunks + c, mask=c < chunks, other=float("-inf"))
    top = tl.max(each, axis=0)
    t = tl.load(temperature + row).to(tl.float32)
    if t > 0:
        base = tl.where(top == float("-inf"), 0.0, top)
        mass = tl.load(masses + row * chunks + c, mask=c < chunks, other=0.0) * tl.exp((each - base) / t)
        target = tl.load(uniform + row).to(tl.float32) * tl.sum(mass, axis=0)
        passed = tl.min(tl.where((tl.cumsum(mass, axis=0) > target) & (mass > 0), c, CHUNKS), axis=0)
        chunk = tl.where(passed < CHUNKS, passed, tl.max(tl.where(mass > 0, c, 0), axis=0))
        before = tl.sum(tl.where(c < chunk, mass, 0.0), axis=0)
        i = chunk * BLOCK + tl.arange(0, BLOCK)
        x = tl.load(logits + row * logits_stride + i, mask=i < vocabulary, other=float("-inf")).to(tl.float32)
        chosen = tl.maximum(place_in_chunk(tl.exp((x - base) / t), i, before, target), 0)
        tl.store(out + row, chosen.to(tl.int64))
    else:
        chunk = tl.min(tl.where((each == top) & (c < chunks), c, CHUNKS - 1), axis=0)
        tl.store(out + row, tl.load(places + row * chunks + chunk).to(tl.int64))


def sample(logits: Tensor, temperature: Tensor, uniform: Tensor) -> Tensor:
    """Launch many programs per row first, so that one row keeps the GPU busy; then one program per row."""
    rows, vocabulary = logits.shape
    out = torch.empty(rows, dtype=torch.int64, device=logits.device)
    if rows:
        block = min(4096, triton.next_power_of_2(vocabulary))
        chunks = triton.cdiv(vocabulary, block)
        tops, masses = torch.empty((2, rows, chunks), dtype=torch.float32, device=logits.device)
        places = torch.empty((rows, chunks), dtype=torch.int32, device=logits.device)
        sample_chunks_kernel[(rows, chunks)](
            logits, temperature, tops, masses, places, logits.stride(0), vocabulary, chunks, BLOCK=block, num_warps=8
        )
        sample_row_kernel[(rows,)](
            logits, temperature, uniform, tops, masses, places, out, logits.stride(0), vocabulary, chunks, BLOCK=block,
            CHUNKS=triton.next_power_of_2(chunks), num_warps=8,
        )  # fmt: skip
    return out
