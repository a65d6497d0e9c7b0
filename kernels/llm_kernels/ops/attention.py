"""Attention: over dense tensors (prefill of whole sequences), and over a paged KV cache (the engine's back end).

FlashAttention-2: Dao, 2023. Split-KV decoding: Dao et al., "Flash-Decoding", 2023. Paging: Kwon et al., 2023.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from llm_kernels import dispatch
from llm_kernels.dispatch import Implementation
from llm_kernels.numerics import accumulator
from llm_kernels.ops import checks

MAX_HEAD_DIM = 256


@torch.library.custom_op("llm_kernels::flash_attention", mutates_args=())
def flash_attention(
    query: Tensor, key: Tensor, value: Tensor, causal: bool = True, window: int = 0, scale: float | None = None
) -> Tensor:
    """Return softmax(query key^T * scale) value.

    query [batch, queries, heads, head_dim]; key, value [batch, keys, kv_heads, head_dim], heads a multiple of kv_heads
    (GQA). Causal: the last query stands at the last key. `window` > 0: a query at p sees the keys in (p - window, p];
    needs `causal`. `scale`: None is 1 / sqrt(head_dim). A query that sees no key gives 0.
    """
    return _FLASH(query, key, value, causal, window, scale)  # type: ignore[no-any-return]


@torch.library.custom_op("llm_kernels::paged_attention", mutates_args=())
def paged_attention(
    query: Tensor,
    cache: Tensor,
    block_tables: Tensor,
    context_lens: Tensor,
    query_start_loc: Tensor,
    max_query_len: int,
    max_context_len: int,
    window: int = 0,
    scale: float | None = None,
) -> Tensor:
    """Return causal attention over the paged cache for a flat batch of prefill chunks and decodes.

    query [tokens, heads, head_dim], the sequences' tokens one after another, tokens may be strided; cache
    [blocks, block_size, 2 (K, V), kv_heads, head_dim], which holds the batch's own keys already; block_tables
    [sequences, blocks] int32/int64, padded with anything; context_lens [sequences]: tokens in the cache, this batch's
    included; query_start_loc [sequences + 1]: where each sequence's tokens begin. The two maxima size the launch, so
    that the host does not wait for the device: they can be larger than needed, never smaller.
    Returns [tokens, heads, head_dim].
    """
    return _PAGED(  # type: ignore[no-any-return]
        query, cache, block_tables, context_lens, query_start_loc, max_query_len, max_context_len, window, scale
    )


@flash_attention.register_fake
@paged_attention.register_fake
def _(query: Tensor, *_: Any) -> Tensor:
    return query.new_empty(query.shape)


def attend(query: Tensor, key: Tensor, value: Tensor, causal: bool, window: int, scale: float | None) -> Tensor:
    """Compute the reference: the scores of all pairs at once, in float32 or float64."""
    acc = accumulator(query.dtype)
    groups = query.shape[2] // key.shape[2]
    q = query.to(acc).transpose(1, 2)
    k = key.to(acc).transpose(1, 2).repeat_interleave(groups, dim=1)
    v = value.to(acc).transpose(1, 2).repeat_interleave(groups, dim=1)
    scores = (q @ k.transpose(-1, -2)) * (query.shape[-1] ** -0.5 if scale is None else scale)
    seen = visible(query.shape[1], key.shape[1], causal, window, query.device)
    weights = scores.masked_fill(~seen, float("-inf")).softmax(dim=-1).masked_fill(~seen, 0)
    return (weights @ v).transpose(1, 2).to(query.dtype).contiguous()


def visible(queries: int, keys: int, causal: bool, window: int, device: torch.device) -> Tensor:
    """Return [queries, keys] bool: which keys each query sees."""
    position = torch.arange(queries, device=device).unsqueeze(1) + (keys - queries)
    key = torch.arange(keys, device=device)
    if not causal:
        return torch.ones(queries, keys, dtype=torch.bool, device=device)
    seen = key <= position
    return seen & (key > position - window) if window > 0 else seen


def _paged_reference(
    query: Tensor,
    cache: Tensor,
    block_tables: Tensor,
    context_lens: Tensor,
    query_start_loc: Tensor,
    max_query_len: int,
    max_context_len: int,
    window: int,
    scale: float | None,
) -> Tensor:
    out = torch.empty(query.shape, dtype=query.dtype, device=query.device)
    block_size, starts = cache.shape[1], query_start_loc.tolist()
    for row, context in enumerate(context_lens.tolist()):
        tokens = slice(starts[row], starts[row + 1])
        blocks = block_tables[row, : -(-context // block_size)].long()
        kv = cache[blocks].flatten(0, 1)[:context]
        q, k, v = query[tokens].unsqueeze(0), kv[:, 0].unsqueeze(0), kv[:, 1].unsqueeze(0)
        out[tokens] = attend(q, k, v, True, window, scale)[0]
    return out


def _check_flash(query: Tensor, key: Tensor, value: Tensor, causal: bool, window: int, scale: float | None) -> None:
    op = "flash_attention"
    checks.dtype_in(op, "query", query, checks.FLOATS)
    checks.require(
        query.dim() == 4, op, f"query has shape {list(query.shape)}; it takes [batch, queries, heads, head_dim]"
    )
    batch, _, heads, head_dim = query.shape
    for name, tensor in (("key", key), ("value", value)):
        checks.dtype_in(op, name, tensor, (query.dtype,))
        words = f"[{batch}, keys, kv_heads, {head_dim}]"
        checks.shape_is(op, name, tensor, (batch, None, None, head_dim), words)
        checks.last_dim_dense(op, name, tensor)
    checks.last_dim_dense(op, "query", query)
    checks.shape_is(op, "value", value, tuple(key.shape), f"{list(key.shape)} (key's)")
    _check_heads(op, heads, key.shape[2], head_dim)
    checks.require(window >= 0, op, f"window {window}; it takes 0 (none) or a number of tokens")
    checks.require(causal or window == 0, op, "a window needs causal=True")
    checks.same_device(op, query, key, value)


def _check_paged(
    query: Tensor,
    cache: Tensor,
    block_tables: Tensor,
    context_lens: Tensor,
    query_start_loc: Tensor,
    max_query_len: int,
    max_context_len: int,
    window: int,
    scale: float | None,
) -> None:
    op = "paged_attention"
    checks.dtype_in(op, "query", query, checks.FLOATS)
    checks.require(query.dim() == 3, op, f"query has shape {list(query.shape)}; it takes [tokens, heads, head_dim]")
    _, heads, head_dim = query.shape
    dense = query.stride(2) == 1 and query.stride(1) == head_dim
    checks.require(dense or query.is_contiguous(), op, "query's heads are strided; it takes dense heads")
    words = f"[blocks, block_size, 2, kv_heads, {head_dim}]"
    checks.shape_is(op, "cache", cache, (None, None, 2, None, head_dim), words)
    checks.contiguous(op, "cache", cache)
    checks.dtype_in(op, "cache", cache, (query.dtype,))
    _check_heads(op, heads, cache.shape[3], head_dim)
    sequences = block_tables.shape[0]
    for name, tensor, shape in (
        ("block_tables", block_tables, (sequences, None)),
        ("context_lens", context_lens, (sequences,)),
        ("query_start_loc", query_start_loc, (sequences + 1,)),
    ):
        checks.dtype_in(op, name, tensor, (torch.int32, torch.int64))
        checks.shape_is(op, name, tensor, shape, str(list(shape)).replace("None", "blocks"))
    checks.last_dim_dense(op, "block_tables", block_tables)
    checks.require(window >= 0, op, f"window {window}; it takes 0 (none) or a number of tokens")
    checks.same_device(op, query, cache, block_tables, context_lens, query_start_loc)


def _check_heads(op: str, heads: int, kv_heads: int, head_dim: int) -> None:
    grouped = kv_heads > 0 and heads % kv_heads == 0
    checks.require(grouped, op, f"{heads} heads over {kv_heads} kv_heads; it takes a multiple of kv_heads")
    checks.require(0 < head_dim <= MAX_HEAD_DIM, op, f"head_dim {head_dim}; it takes 1 to {MAX_HEAD_DIM}")


def _flash_triton(*args: Any) -> Tensor:
    from llm_kernels.triton_kernels import flash_attention as kernels

    return kernels.flash_attention(*args)


def _flash_cuda(query: Tensor, key: Tensor, value: Tensor, causal: bool, window: int, scale: float | None) -> Tensor:
    from llm_kernels.cuda import launch

    return launch.flash_attention(query, key, value, causal, scale)


def _flash_cuda_refuses(
    query: Tensor, key: Tensor, value: Tensor, causal: bool, window: int, scale: float | None
) -> str | None:
    if query.dtype != torch.bfloat16 or query.shape[-1] != 128:
        return "is built for bfloat16 and head_dim 128"
    if window:
        return "has no sliding window"
    if scale is not None and scale <= 0:
        return "needs a positive scale"
    if query.shape[1] > key.shape[1] and causal:
        return "needs at least as many keys as queries"
    if not (query.is_contiguous() and key.is_contiguous() and value.is_contiguous()):
        return "needs contiguous tensors"
    return None


def _paged_triton(*args: Any) -> Tensor:
    from llm_kernels.triton_kernels import paged_attention as kernels

    return kernels.paged_attention(*args)


_FLASH = dispatch.define(
    "flash_attention",
    check=_check_flash,
    reference=attend,
    triton=_flash_triton,
    cuda=Implementation("cuda", _flash_cuda, _flash_cuda_refuses, (9, 0), exact_capability=True),
)
_PAGED = dispatch.define(
    "paged_attention",
    check=_check_paged,
    reference=_paged_reference,
    triton=_paged_triton,
)
