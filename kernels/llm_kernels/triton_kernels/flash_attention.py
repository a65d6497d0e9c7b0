"""Flash attention, forward: one program a tile of queries, keys in tiles, softmax online, scores never in memory.

The keys of a tile of queries fall into three runs: those that only some of its rows see because the window begins
there, those that every row sees (no mask, most of the work), and those on the diagonal or past the end.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from llm_kernels import tuning

LOG2_E = 1.4426950408889634


@triton.jit
def _attend(
    acc, top, total, q, key, value, begin, end, keys, positions, key_stride, value_stride, window, scale,
    CAUSAL: tl.constexpr, WINDOWED: tl.constexpr, MASKED: tl.constexpr, HEAD_DIM: tl.constexpr, BLOCK_D: tl.constexpr,
    BLOCK_N: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Attend to keys [begin, end), a multiple of BLOCK_N; `top` and `total` are each row's running maximum and sum."""
    n = tl.arange(0, BLOCK_N)
    d = tl.arange(0, BLOCK_D)
    for start in range(begin, end, BLOCK_N):
        at = start + n
        if MASKED or BLOCK_D != HEAD_DIM:
            loaded = (at < keys)[:, None] & (d < HEAD_DIM)[None, :]
            k = tl.load(key + at[:, None] * key_stride + d[None, :], mask=loaded, other=0.0)
            v = tl.load(value + at[:, None] * value_stride + d[None, :], mask=loaded, other=0.0)
        else:
            k = tl.load(key + at[:, None] * key_stride + d[None, :])
            v = tl.load(value + at[:, None] * value_stride + d[None, :])
        scores = tl.dot(q, tl.trans(k), input_precision=PRECISION) * scale
        if MASKED:
            seen = (at < keys)[None, :] & (positions >= 0)[:, None]
            if CAUSAL:
                seen = (at[None, :] <= positions[:, None]) & (at < keys)[None, :]
            if WINDOWED:
                seen = seen & (at[None, :] > positions[:, None] - window)
            scores = tl.where(seen, scores, float("-inf"))
        higher = tl.maximum(top, tl.max(scores, axis=1))
        base = tl.where(higher == float("-inf"), 0.0, higher) if MASKED else higher
        p = tl.exp2(scores - base[:, None])
        shrink = tl.exp2(top - base)
        total = total * shrink + tl.sum(p, axis=1)
        acc = acc * shrink[:, None] + tl.dot(p.to(v.dtype), v, input_precision=PRECISION)
        top = higher
    return acc, top, total


@triton.jit
def flash_attention_kernel(
    query, key, value, out, queries, keys, heads, group, window, scale,
    query_batch, query_token, query_head, key_batch, key_token, key_head, value_batch, value_token, value_head,
    CAUSAL: tl.constexpr, WINDOWED: tl.constexpr, HEAD_DIM: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    # The last tiles see the most keys: they start first, so that the short ones fill the end.
    tile = tl.num_programs(0) - 1 - tl.program_id(0)
    batch, head = (tl.program_id(1) // heads).to(tl.int64), (tl.program_id(1) % heads).to(tl.int64)
    query += batch * query_batch + head * query_head
    key += batch * key_batch + (head // group) * key_head
    value += batch * value_batch + (head // group) * value_head
    m = tile * BLOCK_M + tl.arange(0, BLOCK_M)
    d = tl.arange(0, BLOCK_D)
    inside = (m < queries)[:, None] & (d < HEAD_DIM)[None, :]
    q = tl.load(query + m[:, None] * query_token + d[None, :], mask=inside, other=0.0)
    offset = keys - queries
    positions = m + offset

    end, full_end = keys, keys // BLOCK_N * BLOCK_N
    if CAUSAL:
        first, last = tile * BLOCK_M + offset, tile * BLOCK_M + BLOCK_M - 1 + offset
        end = tl.minimum(keys, tl.maximum(last + 1, 0))
        full_end = tl.minimum(full_end, tl.maximum(first + 1, 0) // BLOCK_N * BLOCK_N)
    else:
        positions = m
    begin, full_begin = 0, 0
    if WINDOWED:
        begin = tl.maximum(first - window + 1, 0) // BLOCK_N * BLOCK_N
        full_begin = (tl.maximum(last - window + 1, 0) + BLOCK_N - 1) // BLOCK_N * BLOCK_N
        full_begin = tl.minimum(full_begin, tl.maximum(full_end, begin))
    full_end = tl.maximum(full_end, full_begin)

    acc = tl.zeros([BLOCK_M, BLOCK_D], tl.float32)
    top = tl.full([BLOCK_M], float("-inf"), tl.float32)
    total = tl.zeros([BLOCK_M], tl.float32)
    if WINDOWED:
        acc, top, total = _attend(
            acc, top, total, q, key, value, begin, full_begin, keys, positions, key_token, value_token, window, scale,
            CAUSAL, WINDOWED, True, HEAD_DIM, BLOCK_D, BLOCK_N, PRECISION,
        )  # fmt: skip
    acc, top, total = _attend(
        acc, top, total, q, key, value, full_begin, full_end, keys, positions, key_token, value_token, window, scale,
        CAUSAL, WINDOWED, WINDOWED, HEAD_DIM, BLOCK_D, BLOCK_N, PRECISION,
    )  # fmt: skip
    acc, top, total = _attend(
        acc, top, total, q, key, value, full_end, end, keys, positions, key_token, value_token, window, scale,
        CAUSAL, WINDOWED, True, HEAD_DIM, BLOCK_D, BLOCK_N, PRECISION,
    )  # fmt: skip
    acc = acc / tl.where(total > 0, total, 1.0)[:, None]
    out += (batch * queries * heads + head) * HEAD_DIM
    tl.store(out + m[:, None] * (heads * HEAD_DIM) + d[None, :], acc.to(out.dtype.element_ty), mask=inside)


CONFIGS: tuple[dict[str, int], ...] = (
    {"BLOCK_M": 128, "BLOCK_N": 128, "num_warps": 8, "num_stages": 2},
    {"BLOCK_M": 128, "BLOCK_N": 64, "num_warps": 8, "num_stages": 3},
    {"BLOCK_M": 128, "BLOCK_N": 64, "num_warps": 4, "num_stages": 3},
    {"BLOCK_M": 64, "BLOCK_N": 64, "num_warps": 4, "num_stages": 3},
)
"""Tuning candidates for half types and head_dim up to 128; the first is the default."""


def config(query: Tensor) -> dict[str, int]:
    head_dim = query.shape[-1]
    if query.dtype == torch.float32:
        return {"BLOCK_M": 32, "BLOCK_N": 32, "num_warps": 4, "num_stages": 1}
    if head_dim > 128:
        return {"BLOCK_M": 64, "BLOCK_N": 64, "num_warps": 8, "num_stages": 2}
    if query.shape[1] <= 64:
        return CONFIGS[3]
    return CONFIGS[0]


def candidates(op: str, *args: object) -> list[dict[str, int]]:
    return list(CONFIGS)


def tuning_key(op: str, query: Tensor, key: Tensor, value: Tensor, causal: bool, window: int, *rest: object) -> str:
    return tuning.key_of(query.dtype, query.shape[1], key.shape[1], query.shape[3], int(causal), window)


def flash_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    causal: bool,
    window: int,
    scale: float | None,
    chosen: dict[str, int] | None = None,
) -> Tensor:
    batch, queries, heads, head_dim = query.shape
    out = torch.empty(query.shape, dtype=query.dtype, device=query.device)
    if not out.numel():
        return out
    options = (
        chosen
        or tuning.best("flash_attention", tuning_key("flash_attention", query, key, value, causal, window))
        or config(query)
    )
    scale_log2 = (head_dim**-0.5 if scale is None else scale) * LOG2_E
    grid = (triton.cdiv(queries, options["BLOCK_M"]), batch * heads)
    flash_attention_kernel[grid](
        query, key, value, out, queries, key.shape[1], heads, heads // key.shape[2], window, scale_log2,
        query.stride(0), query.stride(1), query.stride(2), key.stride(0), key.stride(1), key.stride(2),
        value.stride(0), value.stride(1), value.stride(2), CAUSAL=causal, WINDOWED=window > 0, HEAD_DIM=head_dim,
        BLOCK_D=max(16, triton.next_power_of_2(head_dim)), PRECISION="ieee", **options,
    )  # fmt: skip
    return out
