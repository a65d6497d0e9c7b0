"""Rotary embedding and the paged cache's write: one program a token, cos and sin loaded once for all its heads.

Few tokens are cut into one program for each KV head and the query heads that share it: a decode of one sequence would
otherwise be one program on one multiprocessor.
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait

from llm_kernels.triton_kernels.rows import overlaps_launch

FEW_TOKENS = 512


@triton.jit
def _rotate_heads(
    source, target, heads, head_dim, cos, sin, norm, eps, HALF: tl.constexpr, ROTATED: tl.constexpr,
    HEADS: tl.constexpr, HALF_BLOCK: tl.constexpr, REST_BLOCK: tl.constexpr, COPY_REST: tl.constexpr,
    NORMED: tl.constexpr,
):  # fmt: skip
    """Rotate [heads, head_dim] at `source` into `target`; both heads-dense. cos, sin [1, HALF_BLOCK]. NORMED: each
    head's RMSNorm before, all of whose dimensions are rotated."""
    h = tl.arange(0, HEADS)[:, None]
    i = tl.arange(0, HALF_BLOCK)[None, :]
    inside = (h < heads) & (i < HALF)
    at = h * head_dim + i
    a = tl.load(source + at, mask=inside, other=0.0).to(tl.float32)
    b = tl.load(source + at + HALF, mask=inside, other=0.0).to(tl.float32)
    if NORMED:
        scale = 1.0 / tl.sqrt((tl.sum(a * a, axis=1) + tl.sum(b * b, axis=1)) / head_dim + eps)[:, None]
        a = a * scale * tl.load(norm + i, mask=i < HALF, other=0.0).to(tl.float32)
        b = b * scale * tl.load(norm + HALF + i, mask=i < HALF, other=0.0).to(tl.float32)
    tl.store(target + at, (a * cos - b * sin).to(target.dtype.element_ty), mask=inside)
    tl.store(target + at + HALF, (b * cos + a * sin).to(target.dtype.element_ty), mask=inside)
    if COPY_REST:
        j = ROTATED + tl.arange(0, REST_BLOCK)[None, :]
        kept = (h < heads) & (j < head_dim)
        rest = tl.load(source + h * head_dim + j, mask=kept, other=0.0)
        tl.store(target + h * head_dim + j, rest, mask=kept)


@triton.jit
def _copy_row(source, target, count, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    row = tl.load(source + i, mask=i < count, other=0.0)
    tl.store(target + i, row, mask=i < count)


@triton.jit
def rope_kernel(
    query, key, value, positions, cos_sin, cache, slots, query_norm, key_norm, eps, query_stride, key_stride,
    value_stride, heads, kv_heads, head_dim, HALF: tl.constexpr, HALF_BLOCK: tl.constexpr, HEADS: tl.constexpr,
    KV_HEADS: tl.constexpr, REST_BLOCK: tl.constexpr, WRITE_CACHE: tl.constexpr, COPY_REST: tl.constexpr,
    ROW: tl.constexpr, NORMED: tl.constexpr, PDL: tl.constexpr,
):  # fmt: skip
    """Rotate some heads of a token: `heads` and `kv_heads` are one program's; a token's programs cover all heads."""
    if PDL:
        gdc_launch_dependents()
        gdc_wait()
    token, part = tl.program_id(0).to(tl.int64), tl.program_id(1)
    position = tl.load(positions + token).to(tl.int64)
    i = tl.arange(0, HALF_BLOCK)
    cos = tl.load(cos_sin + position * 2 * HALF + i, mask=i < HALF, other=0.0).to(tl.float32)[None, :]
    sin = tl.load(cos_sin + position * 2 * HALF + HALF + i, mask=i < HALF, other=0.0).to(tl.float32)[None, :]
    row = kv_heads * head_dim
    query += token * query_stride + part * heads * head_dim
    key += token * key_stride + part * row
    _rotate_heads(
        query, query, heads, head_dim, cos, sin, query_norm, eps, HALF, 2 * HALF, HEADS, HALF_BLOCK, REST_BLOCK,
        False, NORMED,
    )  # fmt: skip
    if WRITE_CACHE:
        slot = tl.load(slots + token).to(tl.int64)
        if slot >= 0:
            all_heads = tl.num_programs(1) * row
            place = cache + slot * 2 * all_heads + part * row
            _rotate_heads(
                key, place, kv_heads, head_dim, cos, sin, key_norm, eps, HALF, 2 * HALF, KV_HEADS, HALF_BLOCK,
                REST_BLOCK, COPY_REST, NORMED,
            )  # fmt: skip
            _copy_row(value + token * value_stride + part * row, place + all_heads, row, ROW)
    else:
        _rotate_heads(
            key, key, kv_heads, head_dim, cos, sin, key_norm, eps, HALF, 2 * HALF, KV_HEADS, HALF_BLOCK, REST_BLOCK,
            False, NORMED,
        )  # fmt: skip


@triton.jit
def paged_kv_write_kernel(key, value, cache, slots, key_stride, value_stride, row, ROW: tl.constexpr):
    token = tl.program_id(0).to(tl.int64)
    slot = tl.load(slots + token).to(tl.int64)
    if slot >= 0:
        place = cache + slot * 2 * row
        _copy_row(key + token * key_stride, place, row, ROW)
        _copy_row(value + token * value_stride, place + row, row, ROW)


def rope(query: Tensor, key: Tensor, positions: Tensor, cos_sin: Tensor) -> None:
    _launch(query, key, key, positions, cos_sin, None, positions, None, None, 0.0)


def rope_paged_kv_write(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    positions: Tensor,
    cos_sin: Tensor,
    cache: Tensor,
    slots: Tensor,
    query_norm: Tensor | None = None,
    key_norm: Tensor | None = None,
    eps: float = 1e-6,
) -> None:
    _launch(query, key, value, positions, cos_sin, cache, slots, query_norm, key_norm, eps)


def paged_kv_write(key: Tensor, value: Tensor, cache: Tensor, slots: Tensor) -> None:
    tokens, kv_heads, head_dim = key.shape
    row = kv_heads * head_dim
    if tokens and row:
        block = triton.next_power_of_2(row)
        paged_kv_write_kernel[(tokens,)](
            key, value, cache, slots, key.stride(0), value.stride(0), row, ROW=block, num_warps=_warps(block)
        )


def _launch(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    positions: Tensor,
    cos_sin: Tensor,
    cache: Tensor | None,
    slots: Tensor,
    query_norm: Tensor | None,
    key_norm: Tensor | None,
    eps: float,
) -> None:
    tokens, heads, head_dim = query.shape
    if not tokens:
        return
    kv_heads, half = key.shape[1], cos_sin.shape[1] // 2
    parts = kv_heads if tokens <= FEW_TOKENS and kv_heads and heads % kv_heads == 0 else 1
    heads, kv_heads = heads // parts, kv_heads // parts
    heads_block, half_block = triton.next_power_of_2(heads), triton.next_power_of_2(half)
    rope_kernel[(tokens, parts)](
        query, key, value, positions, cos_sin, query if cache is None else cache, slots,
        cos_sin if query_norm is None else query_norm, cos_sin if key_norm is None else key_norm, eps, query.stride(0),
        key.stride(0), value.stride(0), heads, kv_heads, head_dim, HALF=half, HALF_BLOCK=half_block, HEADS=heads_block,
        KV_HEADS=triton.next_power_of_2(kv_heads), REST_BLOCK=triton.next_power_of_2(max(1, head_dim - 2 * half)),
        WRITE_CACHE=cache is not None, COPY_REST=2 * half < head_dim, ROW=triton.next_power_of_2(kv_heads * head_dim),
        NORMED=query_norm is not None, num_warps=_warps(heads_block * half_block), PDL=overlaps_launch(query),
        launch_pdl=overlaps_launch(query),
    )  # fmt: skip


def _warps(elements: int) -> int:
    return min(8, max(1, elements // 512))
