"""All layers of a decoder in one call: for a small model, the calls between the kernels cost more than the kernels."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from llm_kernels.cpu import ACTIVATIONS, PackedLinear
from llm_kernels.cpu.library import FLOAT, INT, LONG, POINTER, LinearStruct, function, pointer

KERNELS = ("embedding", "norms", "linear layers", "attention")
"""Parts whose time is measured, in the order of `Kernel` in decoder.cpp."""


@dataclass(frozen=True, slots=True)
class FusedLayer:
    """Norms: [hidden], those of queries and keys [head_dim]; float32."""

    input_norm: Tensor
    qkv: PackedLinear
    qk_norms: tuple[Tensor, Tensor] | None
    o: PackedLinear
    mlp_norm: Tensor
    gate_up: PackedLinear
    """Gates first."""
    down: PackedLinear
    window: int = 0
    """Number of tokens that a token sees, itself included; 0: all."""

    @property
    def fits(self) -> bool:
        """Whether the gates fill whole panels, so that the up projection begins with a panel."""
        return self.down.weight.in_features % self.gate_up.weight.panel_width == 0


@dataclass(frozen=True, slots=True)
class Heads:
    num_heads: int
    num_kv_heads: int
    head_dim: int
    cos_sin: Tensor
    """[positions, rotated dimensions] float32, of `ops.rope_paged_kv_write`."""


class FusedDecoder:
    """A decoder with packed weights; embedding [vocabulary, hidden] float32 is multiplied by `embed_scale`."""

    def __init__(
        self,
        embedding: Tensor,
        layers: Sequence[FusedLayer],
        norm: Tensor,
        head: PackedLinear,
        heads: Heads,
        block_size: int,
        eps: float = 1e-6,
        activation: str = "silu",
        embed_scale: float = 1.0,
    ) -> None:
        if not all(layer.fits for layer in layers):
            raise ValueError(
                "gates do not fill whole panels: the intermediate size must be a multiple of a panel's width"
            )
        hidden, intermediate = embedding.shape[1], layers[0].down.weight.in_features
        self._kept = (embedding, layers, norm, head, heads)  # keeps the memory alive that the pointers refer to
        self._layers = (_Layer * len(layers))(*(_layer(layer, heads, block_size, eps) for layer in layers))
        self._decoder = _Decoder(
            embedding.data_ptr(), norm.data_ptr(), _linear(head), ctypes.cast(self._layers, POINTER), len(layers),
            hidden, intermediate, ACTIVATIONS[activation], embed_scale, eps,
        )  # fmt: skip
        self._seconds: ctypes.Array[ctypes.c_double] | None = None
        self._run = function("decoder_forward")
        self._workspace = torch.empty(0)
        self._caches: Sequence[Tensor] | None = None
        self._pointers = (POINTER * 0)()
        self._vocabulary = head.weight.out_features
        qkv = layers[0].qkv.weight.out_features
        self._floats_per_token = 2 * hidden + intermediate + qkv + heads.num_heads * heads.head_dim

    def __call__(
        self,
        token_ids: Tensor,
        positions: Tensor,
        slots: Tensor,
        block_tables: Tensor,
        context_lens: Tensor,
        query_start_loc: Tensor,
        caches: Sequence[Tensor],
        rows: Tensor | None = None,
    ) -> Tensor:
        """Run all layers; return logits [rows, vocabulary]. Keys and values go to `caches`.

        token_ids, positions, slots [tokens]; the others as in `ops.paged_attention`; all int64. `rows`: ascending token
        indexes whose logits are wanted; None for all. Memory is kept between calls, so calls must not overlap. The
        pointers of a `caches` list are kept for as long as the same list comes again.
        """
        tokens, count = len(token_ids), len(token_ids if rows is None else rows)
        if tokens * self._floats_per_token > len(self._workspace):
            self._workspace = torch.empty(tokens * self._floats_per_token)
        logits = torch.empty((count, self._vocabulary))
        batch = _Batch(
            positions.data_ptr(), slots.data_ptr(), block_tables.data_ptr(), context_lens.data_ptr(),
            query_start_loc.data_ptr(), block_tables.stride(0), tokens, len(context_lens),
        )  # fmt: skip
        if caches is not self._caches:
            self._caches, self._pointers = caches, (POINTER * len(caches))(*map(pointer, caches))
        self._run(
            ctypes.byref(self._decoder), token_ids.data_ptr(), ctypes.byref(batch), self._pointers, pointer(rows),
            count, self._workspace.data_ptr(), logits.data_ptr(), self._seconds, torch.get_num_threads(),
        )  # fmt: skip
        return logits

    def seconds(self) -> dict[str, float]:
        """Return the seconds that each of `KERNELS` took since the first call."""
        if self._seconds is None:
            self._seconds = (ctypes.c_double * len(KERNELS))()
        return dict(zip(KERNELS, self._seconds, strict=True))


class _Attention(ctypes.Structure):
    _fields_ = [
        *((name, INT) for name in ("heads", "kv_heads", "head_dim", "block_size", "rotated", "window")),
        *((name, FLOAT) for name in ("scale", "eps")),
        *((name, POINTER) for name in ("cos_sin", "query_norm", "key_norm")),
    ]


class _Layer(ctypes.Structure):
    _fields_ = [
        *((name, POINTER) for name in ("input_norm", "mlp_norm")),
        *((name, LinearStruct) for name in ("qkv", "o", "gate_up", "down")),
        ("attention", _Attention),
    ]


class _Decoder(ctypes.Structure):
    _fields_ = [
        *((name, POINTER) for name in ("embedding", "norm")),
        ("head", LinearStruct),
        ("layers", POINTER),
        *((name, INT) for name in ("num_layers", "hidden", "intermediate", "activation")),
        *((name, FLOAT) for name in ("embed_scale", "eps")),
    ]


class _Batch(ctypes.Structure):
    _fields_ = [
        *((name, POINTER) for name in ("positions", "slots", "tables", "context_lens", "starts")),
        ("table_stride", LONG),
        *((name, INT) for name in ("tokens", "sequences")),
    ]


def _layer(layer: FusedLayer, heads: Heads, block_size: int, eps: float) -> _Layer:
    query_norm, key_norm = layer.qk_norms or (None, None)
    attention = _Attention(
        heads.num_heads, heads.num_kv_heads, heads.head_dim, block_size, heads.cos_sin.shape[1], layer.window,
        heads.head_dim**-0.5, eps, heads.cos_sin.data_ptr(), pointer(query_norm), pointer(key_norm),
    )  # fmt: skip
    linears = map(_linear, (layer.qkv, layer.o, layer.gate_up, layer.down))
    return _Layer(layer.input_norm.data_ptr(), layer.mlp_norm.data_ptr(), *linears, attention)


def _linear(linear: PackedLinear) -> LinearStruct:
    return linear.weight.struct(linear.bias)
