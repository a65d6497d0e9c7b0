"""Dense and paged attention."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from llm_kernels.dispatch import Args
from llm_kernels.ops.attention import visible
from llm_kernels.workloads.base import Cost, Workload, normal

BF16, FP16, FP32 = torch.bfloat16, torch.float16, torch.float32


def small() -> list[Workload]:
    flash = (
        # batch, queries, keys, heads, kv_heads, head_dim, causal, window
        (1, 1, 1, 1, 1, 16, True, 0),
        (2, 17, 17, 4, 2, 16, True, 0),
        (1, 33, 70, 2, 1, 32, True, 0),
        (1, 70, 33, 2, 2, 32, True, 0),
        (1, 40, 50, 3, 3, 24, False, 0),
        (1, 150, 150, 2, 1, 16, True, 40),
        (1, 70, 130, 2, 1, 16, True, 5),
    )
    found = [_flash(*shape, dtype) for shape in flash for dtype in (FP32, FP16)]
    found += [_flash(1, 200, 200, 1, 1, 128, True, 0, FP16), _flash(1, 130, 300, 1, 1, 256, True, 0, FP16)]
    # Built for the CUDA kernel's shapes too; bf16 runs on a GPU only.
    found += [_flash(1, 256, 256, 2, 1, 128, True, 0, BF16), _flash(2, 200, 333, 2, 2, 128, True, 0, BF16)]
    found += [_flash(1, 129, 513, 4, 2, 128, False, 0, BF16), _flash(1, 1, 65, 2, 2, 128, True, 0, BF16)]
    paged: tuple[tuple[tuple[tuple[int, int], ...], int, int, int, int, int], ...] = (
        # (query_len, context_len) of each sequence, heads, kv_heads, head_dim, block_size, window
        (((1, 1),), 1, 1, 16, 16, 0),
        (((1, 5), (1, 40), (1, 17)), 4, 2, 16, 16, 0),
        (((1, 5), (3, 40), (17, 17), (20, 90)), 4, 2, 16, 16, 0),
        (((1, 700), (1, 3)), 8, 2, 32, 16, 0),
        (((2, 700), (4, 300)), 6, 2, 24, 8, 0),
        (((1, 130), (50, 130)), 3, 1, 16, 32, 33),
    )
    return found + [_paged(*shape, dtype) for shape in paged for dtype in (FP32, FP16)]


def large() -> list[Workload]:
    found = [_flash(4, 4096, 4096, 32, 32, 128, True, 0, BF16), _flash(2, 8192, 8192, 32, 8, 128, True, 0, BF16)]
    found += [_flash(1, 16384, 16384, 32, 8, 128, True, 0, BF16), _flash(1, 16384, 16384, 16, 16, 128, False, 0, BF16)]
    found += [_flash(1, 16384, 16384, 32, 8, 128, True, 4096, BF16)]
    found += [_paged(((1, 8192),) * 64, 32, 8, 128, 16, 0, BF16), _paged(((1, 32768),), 32, 8, 128, 16, 0, BF16)]
    found += [_paged(((1, 2048),) * 128, 32, 8, 128, 16, 0, BF16)]
    mixed = ((1, 4096),) * 32 + ((2016, 2016),)
    return [*found, _paged(mixed, 32, 8, 128, 16, 0, BF16), _paged(((4, 8192),) * 32, 32, 8, 128, 16, 0, BF16)]


def _flash(
    batch: int, queries: int, keys: int, heads: int, kv_heads: int, head_dim: int, causal: bool, window: int,
    dtype: torch.dtype,
) -> Workload:  # fmt: skip

    def make(g: torch.Generator, device: torch.device) -> Args:
        query = normal(g, (batch, queries, heads, head_dim), dtype, device)
        key, value = (normal(g, (batch, keys, kv_heads, head_dim), dtype, device) for _ in range(2))
        return query, key, value, causal, window, None

    seen = _pairs(queries, keys, causal, window)
    moved = batch * head_dim * (2 * queries * heads + 2 * keys * kv_heads) * dtype.itemsize
    cost = Cost(moved, 4.0 * batch * heads * head_dim * seen)
    shape = f"b{batch} q{queries} k{keys} h{heads}/{kv_heads} d{head_dim}"
    label = shape + (" causal" if causal else "") + (f" window {window}" if window else "")
    return Workload("flash_attention", label, dtype, make, cost, native=_torch_attention, libraries=_sdpa(window))


def _sdpa(window: int) -> dict[str, Callable[..., Any]]:
    """Return SDPA's back ends; they have no window."""
    if window:
        return {}
    return {"SDPA flash": _backend(SDPBackend.FLASH_ATTENTION), "SDPA cuDNN": _backend(SDPBackend.CUDNN_ATTENTION)}


def _backend(backend: SDPBackend) -> Callable[..., Any]:
    def run(query: Tensor, key: Tensor, value: Tensor, causal: bool, window: int, scale: float | None) -> Tensor:
        q, k, v = (t.transpose(1, 2) for t in (query, key, value))
        with sdpa_kernel(backend):
            gqa = query.shape[2] != key.shape[2]
            return F.scaled_dot_product_attention(q, k, v, is_causal=causal, enable_gqa=gqa).transpose(1, 2)

    return run


def _torch_attention(
    query: Tensor, key: Tensor, value: Tensor, causal: bool, window: int, scale: float | None
) -> Tensor:
    """Compute attention in plain torch at the tensors' own dtype, as FlashAttention's tests do."""
    groups = query.shape[2] // key.shape[2]
    q, k, v = (t.transpose(1, 2) for t in (query, key, value))
    k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
    seen = visible(query.shape[1], key.shape[1], causal, window, query.device)
    scores = (q @ k.transpose(-1, -2) * query.shape[-1] ** -0.5).masked_fill(~seen, float("-inf"))
    out: Tensor = (scores.softmax(-1).masked_fill(~seen, 0) @ v).transpose(1, 2)
    return out


def _paged(
    lengths: tuple[tuple[int, int], ...], heads: int, kv_heads: int, head_dim: int, block_size: int, window: int,
    dtype: torch.dtype,
) -> Workload:  # fmt: skip
    query_lens, contexts = [q for q, _ in lengths], [c for _, c in lengths]
    blocks = [-(-c // block_size) for c in contexts]

    def make(g: torch.Generator, device: torch.device) -> Args:
        total = sum(blocks)
        shuffled = torch.randperm(total, generator=g).int()
        tables = torch.zeros(len(lengths), max(blocks), dtype=torch.int32)
        for row, (count, start) in enumerate(zip(blocks, _starts(blocks), strict=False)):
            tables[row, :count] = shuffled[start : start + count]
        query = normal(g, (sum(query_lens), heads, head_dim), dtype, device)
        cache = normal(g, (total, block_size, 2, kv_heads, head_dim), dtype, device)
        context_lens = torch.tensor(contexts, dtype=torch.int32, device=device)
        starts = torch.tensor(_starts(query_lens), dtype=torch.int32, device=device)
        return query, cache, tables.to(device), context_lens, starts, max(query_lens), max(contexts), window, None

    row = kv_heads * head_dim * dtype.itemsize
    reads = sum(min(c, window + q) if window else c for q, c in lengths)
    moved = 2 * reads * row + 2 * sum(query_lens) * heads * head_dim * dtype.itemsize
    flops = 4.0 * heads * head_dim * sum(_pairs(q, c, True, window) for q, c in lengths)
    label = f"{_describe(lengths)} h{heads}/{kv_heads} d{head_dim} block {block_size}"
    label += f" window {window}" if window else ""
    native = _torch_paged
    libraries = {} if window or max(query_lens) > 1 or len(set(contexts)) > 1 else {"SDPA on gathered KV": _gathered}
    return Workload("paged_attention", label, dtype, make, Cost(moved, flops), native=native, libraries=libraries)


def _torch_paged(
    query: Tensor, cache: Tensor, tables: Tensor, contexts: Tensor, starts: Tensor, max_query: int, max_context: int,
    window: int, scale: float | None,
) -> Tensor:  # fmt: skip
    outputs, begin = [], starts.tolist()
    for row, context in enumerate(contexts.tolist()):
        kv = cache[tables[row, : -(-context // cache.shape[1])].long()].flatten(0, 1)[:context].unsqueeze(0)
        q = query[begin[row] : begin[row + 1]].unsqueeze(0)
        outputs.append(_torch_attention(q, kv[:, :, 0], kv[:, :, 1], True, window, scale)[0])
    return torch.cat(outputs)


def _gathered(
    query: Tensor, cache: Tensor, tables: Tensor, contexts: Tensor, starts: Tensor, max_query: int, max_context: int,
    window: int, scale: float | None,
) -> Tensor:  # fmt: skip
    """Gather the pages of decodes of one length, then run torch's SDPA. The gather is part of the price."""
    kv = cache[tables.long()].flatten(1, 2)
    k, v = kv[:, :, 0].transpose(1, 2), kv[:, :, 1].transpose(1, 2)
    return F.scaled_dot_product_attention(query.unsqueeze(2), k, v, enable_gqa=True).squeeze(2)


def _starts(lengths: list[int]) -> list[int]:
    starts = [0]
    for length in lengths:
        starts.append(starts[-1] + length)
    return starts


def _pairs(queries: int, keys: int, causal: bool, window: int) -> int:
    """Count the query-key pairs that are visible."""
    if not causal:
        return queries * keys
    positions = range(keys - queries, keys)
    return sum(max(0, min(p + 1, window) if window else p + 1) for p in positions)


def _describe(lengths: tuple[tuple[int, int], ...]) -> str:
    groups: dict[tuple[int, int], int] = {}
    for pair in lengths:
        groups[pair] = groups.get(pair, 0) + 1
    return " + ".join(f"{count}x(q{q} ctx{c})" for (q, c), count in groups.items())
