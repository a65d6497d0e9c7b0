"""Rotary position embedding, and the write of keys and values to the paged cache, apart and fused.

With the halves [a, b] of a head's rotated dimensions: [a cos - b sin, b cos + a sin] (Su et al., "RoFormer", 2021; the
half-split form of GPT-NeoX and Llama). The cache of a layer is [blocks, block_size, 2 (K, V), kv_heads, head_dim]; a
slot is block * block_size + offset (Kwon et al., "PagedAttention", 2023).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from llm_kernels import dispatch
from llm_kernels.numerics import wide
from llm_kernels.ops import checks


@torch.library.custom_op("llm_kernels::rope", mutates_args=("query", "key"))
def rope(query: Tensor, key: Tensor, positions: Tensor, cos_sin: Tensor) -> None:
    """Rotate `query` [tokens, heads, head_dim] and `key` [tokens, kv_heads, head_dim] in place.

    positions [tokens] int32/int64; cos_sin [max_position, rotated] float: cosines of the rotated / 2 frequencies, then
    their sines; dimensions from `rotated` on stay as they are. Heads must be dense, tokens may be strided (slices of a
    fused projection).
    """
    _ROPE(query, key, positions, cos_sin)


@torch.library.custom_op("llm_kernels::paged_kv_write", mutates_args=("cache",))
def paged_kv_write(key: Tensor, value: Tensor, cache: Tensor, slots: Tensor) -> None:
    """Store `key` and `value` [tokens, kv_heads, head_dim] in the cache's slots [tokens]; a slot < 0 is skipped."""
    _WRITE(key, value, cache, slots)


@torch.library.custom_op("llm_kernels::rope_paged_kv_write", mutates_args=("query", "cache"))
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
    """Rotate `query` in place; write the rotated `key` and `value` to the cache. `key` itself is left as it is:
    nothing reads it again, and not writing it saves its bytes.

    With `query_norm` and `key_norm` [head_dim], both or none, each head is RMS-normalised before it is rotated (Qwen3),
    and rounded once, after both.
    """
    _FUSED(query, key, value, positions, cos_sin, cache, slots, query_norm, key_norm, eps)


@rope.register_fake
@paged_kv_write.register_fake
@rope_paged_kv_write.register_fake
def _(*_: Any) -> None:
    return None


def _rotated(heads: Tensor, positions: Tensor, cos_sin: Tensor, norm: Tensor | None = None, eps: float = 0.0) -> Tensor:
    """Return a copy of [tokens, heads, head_dim], normalised if there is a norm, and rotated."""
    half = cos_sin.shape[-1] // 2
    table = wide(cos_sin)[positions.long()].unsqueeze(1)
    cos, sin = table[..., :half], table[..., half:]
    x = wide(heads)
    if norm is not None:
        x = x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps) * wide(norm)
    a, b, rest = x[..., :half], x[..., half : 2 * half], x[..., 2 * half :]
    return torch.cat((a * cos - b * sin, b * cos + a * sin, rest), dim=-1).to(heads.dtype)


def _rope_reference(query: Tensor, key: Tensor, positions: Tensor, cos_sin: Tensor) -> None:
    query.copy_(_rotated(query, positions, cos_sin))
    key.copy_(_rotated(key, positions, cos_sin))


def _write_reference(key: Tensor, value: Tensor, cache: Tensor, slots: Tensor) -> None:
    kept = slots >= 0
    rows = torch.stack((key, value), dim=1)[kept]
    cache.view(-1, *cache.shape[2:]).index_copy_(0, slots[kept].long(), rows)


def _fused_reference(
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
    query.copy_(_rotated(query, positions, cos_sin, query_norm, eps))
    _write_reference(_rotated(key, positions, cos_sin, key_norm, eps), value, cache, slots)


def _check_heads(op: str, name: str, heads: Tensor, tokens: int, head_dim: int) -> None:
    checks.dtype_in(op, name, heads, checks.FLOATS)
    checks.shape_is(op, name, heads, (tokens, None, head_dim), f"[{tokens}, heads, {head_dim}]")
    dense = heads.shape[0] == 0 or (heads.stride(2) == 1 and heads.stride(1) == head_dim) or heads.is_contiguous()
    checks.require(dense, op, f"{name}'s heads are strided; it takes dense heads (tokens may be strided)")


def _check_rotation(op: str, query: Tensor, key: Tensor, positions: Tensor, cos_sin: Tensor) -> None:
    checks.require(query.dim() == 3, op, f"query has shape {list(query.shape)}; it takes [tokens, heads, head_dim]")
    tokens, _, head_dim = query.shape
    _check_heads(op, "query", query, tokens, head_dim)
    _check_heads(op, "key", key, tokens, head_dim)
    checks.dtype_in(op, "key", key, (query.dtype,))
    checks.dtype_in(op, "positions", positions, (torch.int32, torch.int64))
    checks.shape_is(op, "positions", positions, (tokens,), f"[{tokens}]")
    checks.dtype_in(op, "cos_sin", cos_sin, checks.FLOATS)
    checks.contiguous(op, "cos_sin", cos_sin)
    rotated = cos_sin.shape[-1] if cos_sin.dim() == 2 else 0
    fits = 0 < rotated <= head_dim and rotated % 2 == 0
    checks.require(
        fits, op, f"cos_sin has shape {list(cos_sin.shape)}; it takes [max_position, even number <= {head_dim}]"
    )
    checks.same_device(op, query, key, positions, cos_sin)


def _check_write(op: str, key: Tensor, value: Tensor, cache: Tensor, slots: Tensor) -> None:
    checks.require(key.dim() == 3, op, f"key has shape {list(key.shape)}; it takes [tokens, kv_heads, head_dim]")
    tokens, kv_heads, head_dim = key.shape
    _check_heads(op, "key", key, tokens, head_dim)
    _check_heads(op, "value", value, tokens, head_dim)
    checks.shape_is(op, "value", value, (tokens, kv_heads, head_dim), f"{list(key.shape)} (key's)")
    words = f"[blocks, block_size, 2, {kv_heads}, {head_dim}]"
    checks.shape_is(op, "cache", cache, (None, None, 2, kv_heads, head_dim), words)
    checks.contiguous(op, "cache", cache)
    checks.dtype_in(op, "cache", cache, (key.dtype,))
    checks.dtype_in(op, "value", value, (key.dtype,))
    checks.dtype_in(op, "slots", slots, (torch.int32, torch.int64))
    checks.shape_is(op, "slots", slots, (tokens,), f"[{tokens}]")
    checks.same_device(op, key, value, cache, slots)


def _check_fused(
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
    _check_rotation("rope_paged_kv_write", query, key, positions, cos_sin)
    _check_write("rope_paged_kv_write", key, value, cache, slots)
    op, head_dim = "rope_paged_kv_write", query.shape[-1]
    checks.require(
        (query_norm is None) == (key_norm is None), op, "one norm; it takes query_norm and key_norm, or none"
    )
    for name, norm in (("query_norm", query_norm), ("key_norm", key_norm)):
        if norm is not None:
            checks.dtype_in(op, name, norm, checks.FLOATS)
            checks.shape_is(op, name, norm, (head_dim,), f"[{head_dim}] (head_dim)")
            checks.contiguous(op, name, norm)
            checks.same_device(op, query, norm)


def _rope_triton(query: Tensor, key: Tensor, positions: Tensor, cos_sin: Tensor) -> None:
    from llm_kernels.triton_kernels import rope as kernels

    kernels.rope(query, key, positions, cos_sin)


def _write_triton(key: Tensor, value: Tensor, cache: Tensor, slots: Tensor) -> None:
    from llm_kernels.triton_kernels import rope as kernels

    kernels.paged_kv_write(key, value, cache, slots)


def _fused_triton(*args: Any) -> None:
    from llm_kernels.triton_kernels import rope as kernels

    kernels.rope_paged_kv_write(*args)


def _fused_triton_refuses(*args: object) -> str | None:
    query, cos_sin, norms = args[0], args[4], args[7:9]
    assert isinstance(query, Tensor)
    assert isinstance(cos_sin, Tensor)
    whole = cos_sin.shape[1] == query.shape[2]
    return None if whole or not any(norm is not None for norm in norms) else "normalises heads that are rotated whole"


_ROPE = dispatch.define(
    "rope",
    check=lambda query, key, positions, cos_sin: _check_rotation("rope", query, key, positions, cos_sin),
    reference=_rope_reference,
    triton=_rope_triton,
    mutates=(0, 1),
)
_WRITE = dispatch.define(
    "paged_kv_write",
    check=lambda key, value, cache, slots: _check_write("paged_kv_write", key, value, cache, slots),
    reference=_write_reference,
    triton=_write_triton,
    mutates=(2,),
)
_FUSED = dispatch.define(
    "rope_paged_kv_write",
    check=_check_fused,
    reference=_fused_reference,
    triton=_fused_triton,
    triton_refuses=_fused_triton_refuses,
    mutates=(0, 5),
)
