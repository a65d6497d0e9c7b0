"""The cpp backend: the decoder's operations through the CPU kernels of `llm_kernels`. float32 only.

Attention reads keys and values directly from the paged cache, linear layers read packed weights, and each operation
between them is one call.
"""

from __future__ import annotations

import torch
from torch import Tensor

from llm_engine.checkpoint.families import DecoderConfig
from llm_engine.execution.batch import Batch
from llm_engine.operators.layers import angles
from llm_engine.operators.weights import DecoderWeights, FusedForward, LayerWeights
from llm_kernels import cpu
from llm_kernels.cpu.decoder import FusedDecoder, FusedLayer, Heads


class CppBackend:
    """The CPU kernels for one model."""

    def __init__(self, config: DecoderConfig, max_model_len: int, block_size: int) -> None:
        self._config = config
        self._block_size = block_size
        self._sizes = [config.num_heads, config.num_kv_heads, config.num_kv_heads]
        turns = angles(config.rope, max_model_len)
        self._cos_sin = torch.cat((turns.cos(), turns.sin()), dim=-1)
        """[max_model_len, rotated dimensions]"""
        self.decoder: FusedDecoder | None = None
        """The decoder that `fuse` made."""

    def fuse(self, weights: DecoderWeights) -> FusedForward | None:
        config, head = self._config, weights.head
        packed = [_packed(layer, window) for layer, window in zip(weights.layers, config.windows, strict=True)]
        layers = [layer for layer in packed if layer is not None]
        if len(layers) < len(packed) or not isinstance(head, cpu.PackedLinear):
            return None
        self.decoder = decoder = FusedDecoder(
            weights.embedding,
            layers,
            weights.norm,
            head,
            Heads(config.num_heads, config.num_kv_heads, config.head_dim, self._cos_sin),
            self._block_size,
            config.rms_norm_eps,
            config.activation,
            config.embed_scale,
        )

        def forward(batch: Batch, caches: list[Tensor]) -> Tensor:
            return decoder(
                batch.token_ids, batch.positions, batch.slots, batch.block_tables, batch.context_lens,
                batch.query_starts, caches, batch.logit_rows,
            )  # fmt: skip

        return forward

    def plan(self, batch: Batch) -> Batch:
        return batch

    def attend(
        self,
        qkv: Tensor,
        norms: tuple[Tensor, Tensor] | None,
        cache: Tensor,
        plan: Batch,
        *,
        window: int | None,
        kv_scales: Tensor | None = None,
    ) -> Tensor:
        query, key, value = qkv.view(qkv.shape[0], -1, self._config.head_dim).split_with_sizes(self._sizes, dim=1)
        query_norm, key_norm = norms or (None, None)
        cpu.rope_paged_kv_write(
            query, key, value, plan.positions, self._cos_sin, cache, plan.slots, query_norm, key_norm,
            self._config.rms_norm_eps,
        )  # fmt: skip
        tables, contexts, starts = plan.block_tables, plan.context_lens, plan.query_starts
        return cpu.paged_attention(query, cache, tables, contexts, starts, window or 0).view(qkv.shape[0], -1)

    def rms_norm(self, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        return cpu.rms_norm(x, weight, eps)

    def add_rms_norm(self, x: Tensor, delta: Tensor | None, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
        return (cpu.rms_norm(x, weight, eps) if delta is None else cpu.add_rms_norm(x, delta, weight, eps)), x

    def gated_activation(self, gate_up: Tensor, activation: str) -> Tensor:
        return cpu.gated_activation(gate_up, activation)


def _packed(layer: LayerWeights, window: int | None) -> FusedLayer | None:
    """Return the layer for the fused call, or None if one of its projections is not packed."""
    qkv, o, gate_up, down = layer.qkv, layer.o, layer.gate_up, layer.down
    if not (
        isinstance(qkv, cpu.PackedLinear)
        and isinstance(o, cpu.PackedLinear)
        and isinstance(gate_up, cpu.PackedLinear)
        and isinstance(down, cpu.PackedLinear)
    ):
        return None
    found = FusedLayer(layer.input_norm, qkv, layer.qk_norms, o, layer.mlp_norm, gate_up, down, window or 0)
    return found if found.fits else None
