"""Rotary embedding and the paged cache's write."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from llm_kernels.dispatch import Args
from llm_kernels.workloads.base import Compiled, Cost, Workload, integers, normal

BF16, FP16, FP32 = torch.bfloat16, torch.float16, torch.float32


def small() -> list[Workload]:
    shapes = ((1, 1, 1, 8, 8), (5, 4, 2, 16, 16), (7, 3, 1, 24, 10), (3, 6, 6, 64, 32))
    found = [build(*shape, dtype) for shape in shapes for dtype in (FP32, FP16) for build in (_rope, _write, _fused)]
    found += [_fused(5, 4, 2, 16, 16, dtype, with_norms=True) for dtype in (FP32, FP16, BF16)]
    return [*found, _rope(5, 4, 2, 16, 16, BF16), _fused(5, 4, 2, 16, 16, BF16), _write(3, 0, 2, 16, 16, BF16)]


def large() -> list[Workload]:
    shape = (8192, 32, 8, 128, 128, BF16)
    return [_rope(*shape), _fused(*shape), _write(*shape)]


def cos_sin_table(positions: int, rotated: int, device: torch.device) -> Tensor:
    """Return [positions, rotated] float32: cosines, then sines."""
    frequencies = 1.0 / 10_000 ** (torch.arange(0, rotated, 2, dtype=torch.float32) / rotated)
    angles = torch.outer(torch.arange(positions, dtype=torch.float32), frequencies)
    return torch.cat((angles.cos(), angles.sin()), dim=-1).to(device)


def _heads(g: torch.Generator, tokens: int, heads: int, kv_heads: int, head_dim: int, dtype: torch.dtype,
           device: torch.device) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    return tuple(normal(g, (tokens, h, head_dim), dtype, device) for h in (heads, kv_heads, kv_heads))  # type: ignore[return-value]


def _slots(g: torch.Generator, tokens: int, slots: int, device: torch.device) -> Tensor:
    """Draw distinct slots, as a block table gives; with several tokens, one has slot -1."""
    chosen = torch.randperm(slots, generator=g)[:tokens]
    if 2 < tokens < 100:
        chosen[1] = -1
    return chosen.to(device)


def _rope(tokens: int, heads: int, kv_heads: int, head_dim: int, rotated: int, dtype: torch.dtype) -> Workload:
    def make(g: torch.Generator, device: torch.device) -> Args:
        query, key, _ = _heads(g, tokens, heads, kv_heads, head_dim, dtype, device)
        positions = integers(g, 0, 4096, (tokens,), torch.int64, device)
        return query, key, positions, cos_sin_table(4096, rotated, device)

    def torch_rope(query: Tensor, key: Tensor, positions: Tensor, cos_sin: Tensor) -> None:
        cos, sin = cos_sin[positions].unsqueeze(1).chunk(2, dim=-1)
        for x in (query, key):
            a, b = x[..., : rotated // 2].float(), x[..., rotated // 2 : rotated].float()
            x[..., :rotated] = torch.cat((a * cos - b * sin, b * cos + a * sin), -1).to(x.dtype)

    moved = 2 * tokens * (heads + kv_heads) * rotated * dtype.itemsize + tokens * (rotated * 4 + 8)
    libraries: dict[str, Callable[..., Any]] = {"torch": torch_rope, "torch.compile": Compiled(torch_rope)}
    return Workload("rope", _label(tokens, heads, kv_heads, head_dim), dtype, make, Cost(moved), libraries=libraries)


def _write(tokens: int, heads: int, kv_heads: int, head_dim: int, rotated: int, dtype: torch.dtype) -> Workload:
    def make(g: torch.Generator, device: torch.device) -> Args:
        _, key, value = _heads(g, tokens, 1, kv_heads, head_dim, dtype, device)
        blocks = -(-tokens // 16) + 3
        cache = normal(g, (blocks, 16, 2, kv_heads, head_dim), dtype, device)
        return key, value, cache, _slots(g, tokens, blocks * 16, device)

    def torch_write(key: Tensor, value: Tensor, cache: Tensor, slots: Tensor) -> None:
        cache.view(-1, *cache.shape[2:]).index_copy_(0, slots, torch.stack((key, value), 1))

    cost = Cost(4 * tokens * kv_heads * head_dim * dtype.itemsize + 8 * tokens)
    label = f"{tokens} tokens, {kv_heads} kv heads of {head_dim}"
    return Workload("paged_kv_write", label, dtype, make, cost, libraries={"torch": torch_write})


def _fused(
    tokens: int, heads: int, kv_heads: int, head_dim: int, rotated: int, dtype: torch.dtype, with_norms: bool = False
) -> Workload:
    def make(g: torch.Generator, device: torch.device) -> Args:
        query, key, value = _heads(g, tokens, heads, kv_heads, head_dim, dtype, device)
        positions = integers(g, 0, 4096, (tokens,), torch.int64, device)
        blocks = -(-tokens // 16) + 3
        cache = normal(g, (blocks, 16, 2, kv_heads, head_dim), dtype, device)
        slots = _slots(g, tokens, blocks * 16, device)
        norms = [normal(g, (head_dim,), dtype, device) for _ in range(2)] if with_norms else [None, None]
        return query, key, value, positions, cos_sin_table(4096, rotated, device), cache, slots, *norms, 1e-6

    def torch_fused(
        query: Tensor, key: Tensor, value: Tensor, positions: Tensor, cos_sin: Tensor, cache: Tensor, slots: Tensor,
        *no_norms: object,
    ) -> None:  # fmt: skip
        cos, sin = cos_sin[positions].unsqueeze(1).chunk(2, dim=-1)
        turned = []
        for x in (query, key):
            a, b = x[..., : rotated // 2].float(), x[..., rotated // 2 : rotated].float()
            turned.append(torch.cat((a * cos - b * sin, b * cos + a * sin), -1).to(x.dtype))
        query.copy_(turned[0])
        cache.view(-1, *cache.shape[2:]).index_copy_(0, slots, torch.stack((turned[1], value), 1))

    row = head_dim * dtype.itemsize
    moved = 2 * tokens * heads * row + 4 * tokens * kv_heads * row + tokens * (rotated * 4 + 16)
    libraries: dict[str, Callable[..., Any]] = {"torch": torch_fused, "torch.compile": Compiled(torch_fused)}
    label = _label(tokens, heads, kv_heads, head_dim) + (" with norms" if with_norms else "")
    return Workload("rope_paged_kv_write", label, dtype, make, Cost(moved), libraries=libraries)


def _label(tokens: int, heads: int, kv_heads: int, head_dim: int) -> str:
    return f"{tokens} tokens, {heads}/{kv_heads} heads of {head_dim}"
