"""The triton backend: the decoder's operations through the GPU kernels of `llm_kernels`.

One paged attention kernel serves prefill chunks and decodes. The rotation is fused with the norms before it and the
cache write after it, and norms are fused with the residual addition.

The host knows all sizes and nothing waits for the device, so a step of decodes can be captured as a CUDA graph. Graphs
pad their batches with negative slots, which are not written, and empty contexts, for which attention gives zeros.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from llm_engine.checkpoint.families import DecoderConfig
from llm_engine.execution.batch import Batch
from llm_engine.execution.transfer import Array, to_device
from llm_engine.operators.layers import angles
from llm_engine.operators.truncation import SMALLEST, mask_min_p, scale, truncates, unless_greedy
from llm_engine.operators.weights import DecoderWeights
from llm_engine.sampling.params import SamplingParams
from llm_kernels import ops


@dataclass(frozen=True, slots=True)
class TritonPlan:
    """The values that all layers of a step share."""

    batch: Batch
    max_query_len: int


class TritonBackend:
    """The GPU kernels for one model."""

    def __init__(self, config: DecoderConfig, max_model_len: int, device: torch.device) -> None:
        self._config = config
        turns = angles(config.rope, max_model_len)
        self._cos_sin = torch.cat((turns.cos(), turns.sin()), dim=-1).to(device)
        """[max_model_len, rotated dimensions] float32"""

    def fuse(self, weights: DecoderWeights) -> None:
        return None

    def plan(self, batch: Batch) -> TritonPlan:
        return TritonPlan(batch, batch.query_lens[-1])

    def attend(
        self,
        qkv: Tensor,
        norms: tuple[Tensor, Tensor] | None,
        cache: Tensor,
        plan: TritonPlan,
        *,
        window: int | None,
        kv_scales: Tensor | None = None,
    ) -> Tensor:
        config, batch = self._config, plan.batch
        heads = qkv.view(len(qkv), -1, config.head_dim)
        sizes = [config.num_heads, config.num_kv_heads, config.num_kv_heads]
        query, key, value = torch.split(heads, sizes, dim=1)
        ops.rope_paged_kv_write(
            query,
            key,
            value,
            batch.positions,
            self._cos_sin,
            cache,
            batch.slots,
            *(norms or (None, None)),
            config.rms_norm_eps,
        )
        out: Tensor = ops.paged_attention(
            query,
            cache,
            batch.block_tables,
            batch.context_lens,
            batch.query_starts,
            plan.max_query_len,
            batch.max_context_len,
            window or 0,
        )
        return out.view(len(qkv), -1)

    def rms_norm(self, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        return ops.rms_norm(x, weight, eps)  # type: ignore[no-any-return]

    def add_rms_norm(self, x: Tensor, delta: Tensor | None, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
        return (ops.rms_norm(x, weight, eps), x) if delta is None else ops.fused_add_rms_norm(delta, x, weight, eps)

    def gated_activation(self, gate_up: Tensor, activation: str) -> Tensor:
        if activation == "silu":
            return ops.silu_and_mul(gate_up)  # type: ignore[no-any-return]
        return ops.gelu_and_mul(gate_up, "tanh" if activation == "gelu_tanh" else "none")  # type: ignore[no-any-return]


def draw(logits: Tensor, params: list[SamplingParams], uniforms: Array) -> Tensor:
    """Draw one token per row like `truncation.draw`, in one kernel and without a sort."""
    device, numbers = logits.device, uniforms.astype(np.float32)
    if any(p.min_p or truncates(p) for p in params):
        return _draw_truncated(logits, params, numbers)
    temperatures = np.array([0.0 if p.is_greedy else p.temperature for p in params], np.float32)
    tokens: Tensor = ops.sample(logits, *to_device([temperatures, numbers], device))
    return tokens


def _draw_truncated(logits: Tensor, params: list[SamplingParams], numbers: Array) -> Tensor:
    scaled = mask_min_p(scale(logits, params), params)
    shares = np.array([max(p.top_p, SMALLEST) for p in params], np.float32)
    top_p, uniform = to_device([shares, numbers], logits.device)
    (top_k,) = to_device([np.array([min(p.top_k, logits.shape[-1]) for p in params], np.int32)], logits.device)
    return unless_greedy(ops.sample_top_k_top_p(scaled, top_k, top_p, uniform), logits, params)
