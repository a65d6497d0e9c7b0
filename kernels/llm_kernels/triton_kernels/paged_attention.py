"""Attention over the paged cache, one kernel for prefill chunks and decodes.

A program takes BLOCK_M rows of one KV head: the queries of a run of tokens times the heads that share the KV head, so a
decode of a model with 4 heads a KV head fills 4 rows, and K and V are read once for all of them.

    rows of a program    token 0: heads 0 1 2 3 | token 1: heads 0 1 2 3 | …

Splits cut the context into runs that different programs take, so that few sequences fill the machine; a second kernel
adds the runs up by their log-sum-exp (Flash-Decoding). The launch is sized by the maxima the host knows; programs
without work leave at once.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait

from llm_kernels import tuning
from llm_kernels.triton_kernels.rows import overlaps_launch

LOG2_E = 1.4426950408889634


@triton.jit
def _sequence_of(query_start_loc, program, sequences, BLOCK_Q: tl.constexpr):
    """Return the sequence of a program: sequence i owns the programs from start_i // BLOCK_Q + i on."""
    low, high = 0, sequences
    while low < high:
        middle = (low + high) // 2
        first = tl.load(query_start_loc + middle).to(tl.int32) // BLOCK_Q + middle
        if first <= program:
            low = middle + 1
        else:
            high = middle
    return low - 1


# Triton does not specialise on values that change from step to step, so no kernel is compiled while serving.
@triton.jit(do_not_specialize=["sequences", "tokens", "window", "table_stride"])
def paged_attention_kernel(
    query, cache, block_tables, context_lens, query_start_loc, out, partial, partial_lse, sequences, tokens, heads,
    kv_heads, window, scale, query_token, table_stride,
    GROUP: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_Q: tl.constexpr, BLOCK_N: tl.constexpr, HEAD_DIM: tl.constexpr,
    BLOCK_D: tl.constexpr, PAGE: tl.constexpr, SPLITS: tl.constexpr, ONE_QUERY: tl.constexpr, WINDOWED: tl.constexpr,
    PRECISION: tl.constexpr, PDL: tl.constexpr,
):  # fmt: skip
    if PDL:
        gdc_launch_dependents()
        gdc_wait()
    program, kv_head, split = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    sequence = program if ONE_QUERY else _sequence_of(query_start_loc, program, sequences, BLOCK_Q)
    first_token = tl.load(query_start_loc + sequence).to(tl.int32)
    query_len = tl.load(query_start_loc + sequence + 1).to(tl.int32) - first_token
    begin_query = 0 if ONE_QUERY else (program - first_token // BLOCK_Q - sequence) * BLOCK_Q
    if begin_query >= query_len:
        return
    context = tl.load(context_lens + sequence).to(tl.int32)

    row = tl.arange(0, BLOCK_M)
    local = begin_query + row // GROUP
    head = kv_head * GROUP + row % GROUP
    d = tl.arange(0, BLOCK_D)
    used = (row < BLOCK_Q * GROUP) & (local < query_len)
    inside = used[:, None] & (d < HEAD_DIM)[None, :]
    token = (first_token + local).to(tl.int64)
    q = tl.load(query + token[:, None] * query_token + (head * HEAD_DIM)[:, None] + d[None, :], mask=inside, other=0.0)
    position = context - query_len + local

    last = context - query_len + tl.minimum(begin_query + BLOCK_Q, query_len)
    begin = 0
    if WINDOWED:
        begin = tl.maximum(context - query_len + begin_query - window + 1, 0) // BLOCK_N * BLOCK_N
    share = tl.cdiv(tl.cdiv(last - begin, BLOCK_N), SPLITS) * BLOCK_N
    begin += split * share
    end = tl.minimum(last, begin + share)

    acc = tl.zeros([BLOCK_M, BLOCK_D], tl.float32)
    top = tl.full([BLOCK_M], float("-inf"), tl.float32)
    total = tl.zeros([BLOCK_M], tl.float32)
    table = block_tables + sequence.to(tl.int64) * table_stride
    n = tl.arange(0, BLOCK_N)
    slot_stride = 2 * kv_heads * HEAD_DIM
    for start in range(begin, end, BLOCK_N):
        at = start + n
        block = tl.load(table + at // PAGE, mask=at < end, other=0).to(tl.int64)
        place = (block * PAGE + at % PAGE) * slot_stride + kv_head * HEAD_DIM
        loaded = (at < end)[:, None] & (d < HEAD_DIM)[None, :]
        k = tl.load(cache + place[:, None] + d[None, :], mask=loaded, other=0.0)
        v = tl.load(cache + place[:, None] + kv_heads * HEAD_DIM + d[None, :], mask=loaded, other=0.0)
        scores = tl.dot(q, tl.trans(k), input_precision=PRECISION) * scale
        seen = (at[None, :] <= position[:, None]) & (at < end)[None, :]
        if WINDOWED:
            seen = seen & (at[None, :] > position[:, None] - window)
        scores = tl.where(seen, scores, float("-inf"))
        higher = tl.maximum(top, tl.max(scores, axis=1))
        base = tl.where(higher == float("-inf"), 0.0, higher)
        p = tl.exp2(scores - base[:, None])
        shrink = tl.exp2(top - base)
        total = total * shrink + tl.sum(p, axis=1)
        acc = acc * shrink[:, None] + tl.dot(p.to(v.dtype), v, input_precision=PRECISION)
        top = higher

    acc = acc / tl.where(total > 0, total, 1.0)[:, None]
    place = token * heads + head
    if SPLITS == 1:
        tl.store(out + place[:, None] * HEAD_DIM + d[None, :], acc.to(out.dtype.element_ty), mask=inside)
    else:
        place += split.to(tl.int64) * tokens * heads
        tl.store(partial + place[:, None] * HEAD_DIM + d[None, :], acc, mask=inside)
        tl.store(partial_lse + place, tl.where(total > 0, top + tl.log2(total), float("-inf")), mask=used)


@triton.jit
def add_splits_kernel(
    partial, partial_lse, out, rows, HEAD_DIM: tl.constexpr, BLOCK_D: tl.constexpr, SPLITS: tl.constexpr,
    SPLITS_BLOCK: tl.constexpr, PDL: tl.constexpr,
):  # fmt: skip
    """Compute out[row] = sum over splits of weight_split * partial[split, row], with weights 2^lse, normalised."""
    if PDL:
        gdc_launch_dependents()
        gdc_wait()
    row = tl.program_id(0).to(tl.int64)
    s = tl.arange(0, SPLITS_BLOCK)
    d = tl.arange(0, BLOCK_D)
    lse = tl.load(partial_lse + s * rows + row, mask=s < SPLITS, other=float("-inf"))
    top = tl.max(lse, axis=0)
    weight = tl.exp2(lse - tl.where(top == float("-inf"), 0.0, top))
    weight = weight / tl.maximum(tl.sum(weight, axis=0), 1e-30)
    at = (s.to(tl.int64) * rows + row)[:, None] * HEAD_DIM + d[None, :]
    parts = tl.load(partial + at, mask=(s < SPLITS)[:, None] & (d < HEAD_DIM)[None, :], other=0.0)
    tl.store(
        out + row * HEAD_DIM + d, tl.sum(parts * weight[:, None], axis=0).to(out.dtype.element_ty), mask=d < HEAD_DIM
    )


def paged_attention(
    query: Tensor,
    cache: Tensor,
    block_tables: Tensor,
    context_lens: Tensor,
    query_start_loc: Tensor,
    max_query_len: int,
    max_context_len: int,
    window: int,
    scale: float | None,
    chosen: dict[str, int] | None = None,
) -> Tensor:
    tokens, heads, head_dim = query.shape
    kv_heads, sequences = cache.shape[3], block_tables.shape[0]
    group = heads // kv_heads
    out = torch.empty(query.shape, dtype=query.dtype, device=query.device)
    if not out.numel():
        return out
    key = tuning_key("", query, cache, block_tables, context_lens, query_start_loc, max_query_len, max_context_len)
    options = dict(chosen or tuning.best("paged_attention", key) or config(query, group, max_query_len))
    block_q = max(1, options["BLOCK_M"] // group)
    programs = sequences if max_query_len == 1 else tokens // block_q + sequences
    splits = options.pop("SPLITS", 0) or choose_splits(
        programs * kv_heads, min(max_context_len, window + max_query_len) if window else max_context_len, query.device
    )
    if tokens > 4 * sequences and tokens > 256:
        splits = 1  # prefill fills the machine, and its partial results would be large
    partial = query.new_empty((splits, tokens, heads, head_dim) if splits > 1 else (1,), dtype=torch.float32)
    partial_lse = query.new_empty((splits, tokens, heads) if splits > 1 else (1,), dtype=torch.float32)
    block_d = max(16, triton.next_power_of_2(head_dim))
    paged_attention_kernel[(programs, kv_heads, splits)](
        query, cache, block_tables, context_lens, query_start_loc, out, partial, partial_lse, sequences, tokens, heads,
        kv_heads, window, (head_dim**-0.5 if scale is None else scale) * LOG2_E, query.stride(0),
        block_tables.stride(0), GROUP=group, BLOCK_Q=block_q, HEAD_DIM=head_dim, BLOCK_D=block_d, PAGE=cache.shape[1],
        SPLITS=splits, ONE_QUERY=max_query_len == 1, WINDOWED=window > 0, PRECISION="ieee",
        PDL=overlaps_launch(query), launch_pdl=overlaps_launch(query), **options,
    )  # fmt: skip
    if splits > 1:
        add_splits_kernel[(tokens * heads,)](
            partial, partial_lse, out, tokens * heads, HEAD_DIM=head_dim, BLOCK_D=block_d, SPLITS=splits,
            SPLITS_BLOCK=triton.next_power_of_2(splits), PDL=overlaps_launch(query), num_warps=2,
            launch_pdl=overlaps_launch(query),
        )  # fmt: skip
    return out


DECODE_CONFIGS: tuple[dict[str, int], ...] = (
    {"BLOCK_N": 64, "num_warps": 4, "num_stages": 5},
    {"BLOCK_N": 64, "num_warps": 4, "num_stages": 7},
    {"BLOCK_N": 128, "num_warps": 4, "num_stages": 3},
    {"BLOCK_N": 32, "num_warps": 2, "num_stages": 7},
)
"""Tuning candidates for one query a sequence; the first is the default. The chain block table -> page -> product takes
two stages of the pipeline per tile in flight: with 5 stages two tiles of K and V are under way, with 3 one."""


def config(query: Tensor, group: int, max_query_len: int) -> dict[str, int]:
    rows = max(16, triton.next_power_of_2(group))
    if query.dtype == torch.float32:
        return {"BLOCK_M": max(rows, 16), "BLOCK_N": 32, "num_warps": 4, "num_stages": 1}
    if max_query_len == 1:
        return {"BLOCK_M": rows, **DECODE_CONFIGS[0]}
    if max_query_len * group <= 32:  # speculation, short chunks
        return {"BLOCK_M": max(rows, triton.next_power_of_2(max_query_len * group)), **DECODE_CONFIGS[0]}
    return {"BLOCK_M": max(rows, 128), "BLOCK_N": 64, "num_warps": 8 if query.shape[-1] <= 128 else 4, "num_stages": 2}


def candidates(op: str, query: Tensor, cache: Tensor, *rest: object) -> list[dict[str, int]]:
    if rest[3] != 1:  # only decodes have candidates
        return []
    rows = max(16, triton.next_power_of_2(query.shape[1] // cache.shape[3]))
    splits = (1, 2, 4) if query.shape[0] >= 16 else (16, 32, 64)
    return [{"BLOCK_M": rows, "SPLITS": s, **c} for c in DECODE_CONFIGS for s in splits]


def tuning_key(op: str, query: Tensor, cache: Tensor, *rest: object) -> str:
    max_query_len, max_context_len = rest[3], rest[4]
    assert isinstance(max_query_len, int)
    assert isinstance(max_context_len, int)
    return tuning.key_of(query.dtype, *query.shape, cache.shape[3], cache.shape[1], max_query_len, max_context_len)


def choose_splits(programs: int, context: int, device: torch.device) -> int:
    """Return the splits that give about four programs per multiprocessor, none with fewer than 256 keys."""
    processors = torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 4
    wanted = max(1, min(-(-4 * processors // max(1, programs)), -(-context // 256), 64))
    return int(triton.next_power_of_2(wanted))  # few values: each is compiled once
