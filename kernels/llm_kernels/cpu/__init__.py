"""Kernels for CPUs, in C++ and float32: all that a decode step calls without a GPU.

They are plain functions with the ops' arguments, not torch ops: a step of a small model makes sixty calls of a few
microseconds each, and a custom op in Python costs a hundred microseconds before it begins. `why_not()` says whether
they can run. Arguments are not checked.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

import torch
from torch import Tensor

from llm_kernels.cpu.build import why_not
from llm_kernels.cpu.library import function, pointer
from llm_kernels.cpu.packing import WORD, PackedWeight, pack, pack_fp8, pack_int4, pack_int8, pack_int8_groups

__all__ = [
    "WORD",
    "PackedLinear",
    "PackedWeight",
    "add_rms_norm",
    "gated_activation",
    "linear",
    "pack",
    "pack_fp8",
    "pack_int4",
    "pack_int8",
    "pack_int8_groups",
    "paged_attention",
    "rms_norm",
    "rope_paged_kv_write",
    "why_not",
]

HEAD_DIM_MULTIPLE = 8
ACTIVATIONS = {"silu": 0, "gelu_tanh": 1, "gelu": 2}


def linear(x: Tensor, weight: PackedWeight, bias: Tensor | None = None) -> Tensor:
    """Return x [rows, in] times the weight transposed, plus bias [out] -> [rows, out].

    A row's result is the same, bit for bit, whatever the other rows are.
    """
    x = x.contiguous()
    out = torch.empty((x.shape[0], weight.out_features))
    struct = ctypes.byref(weight.struct(bias))
    function("linear_layer")(x.data_ptr(), struct, out.data_ptr(), x.shape[0], torch.get_num_threads())
    return out


@dataclass(frozen=True, slots=True)
class PackedLinear:
    """`linear` with its weight and bias."""

    weight: PackedWeight
    bias: Tensor | None

    @classmethod
    def of(cls, weight: Tensor, bias: Tensor | None = None) -> PackedLinear:
        return cls(pack(weight), bias)

    def __call__(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)


def rms_norm(x: Tensor, weight: Tensor, eps: float = 1e-6) -> Tensor:
    """Return the same as `ops.rms_norm`."""
    x, size = x.contiguous(), x.shape[-1]
    out = torch.empty_like(x)
    rows = x.numel() // size
    run = function("rms_norm")
    run(x.data_ptr(), weight.data_ptr(), out.data_ptr(), rows, size, eps, torch.get_num_threads())
    return out


def add_rms_norm(x: Tensor, delta: Tensor, weight: Tensor, eps: float = 1e-6) -> Tensor:
    """Return rms_norm(x + delta) for contiguous x and delta [..., hidden]; x becomes the sum."""
    size, out = x.shape[-1], torch.empty_like(x)
    function("add_rms_norm")(
        x.data_ptr(), delta.data_ptr(), weight.data_ptr(), out.data_ptr(), x.numel() // size, size, eps,
        torch.get_num_threads(),
    )  # fmt: skip
    return out


def gated_activation(gate_up: Tensor, activation: str) -> Tensor:
    """Return act(gate) * up: [..., 2 * n] -> [..., n]; `activation` is silu, gelu or gelu_tanh."""
    gate_up = gate_up.contiguous()
    size = gate_up.shape[-1] // 2
    out = torch.empty((*gate_up.shape[:-1], size))
    function("gated_activation")(
        gate_up.data_ptr(), out.data_ptr(), out.numel() // max(1, size), size, ACTIVATIONS[activation],
        torch.get_num_threads(),
    )  # fmt: skip
    return out


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
    """Do the same as `ops.rope_paged_kv_write`; positions and slots are int64, cos_sin float32."""
    tokens, heads, head_dim = query.shape
    function("rope_paged_kv_write")(
        query.data_ptr(), key.data_ptr(), value.data_ptr(), positions.data_ptr(), cos_sin.data_ptr(), cache.data_ptr(),
        slots.data_ptr(), pointer(query_norm), pointer(key_norm), tokens, heads, key.shape[1], head_dim,
        cos_sin.shape[1], query.stride(0), key.stride(0), value.stride(0), eps, torch.get_num_threads(),
    )  # fmt: skip


def paged_attention(
    query: Tensor,
    cache: Tensor,
    block_tables: Tensor,
    context_lens: Tensor,
    query_start_loc: Tensor,
    window: int = 0,
    scale: float | None = None,
) -> Tensor:
    """Return the same as `ops.paged_attention`, without the maxima; head_dim is a multiple of 8, integers are int64."""
    tokens, heads, head_dim = query.shape
    out = torch.empty((tokens, heads, head_dim))
    function("paged_attention")(
        query.data_ptr(), query.stride(0), cache.data_ptr(), block_tables.data_ptr(), block_tables.stride(0),
        context_lens.data_ptr(), query_start_loc.data_ptr(), out.data_ptr(), tokens, context_lens.shape[0], heads,
        cache.shape[3], head_dim, cache.shape[1], window, head_dim**-0.5 if scale is None else scale,
        torch.get_num_threads(),
    )  # fmt: skip
    return out
