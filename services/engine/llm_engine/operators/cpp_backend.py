"""The decoder's operators as the C++ kernels of `llm_kernels` for CPUs: attention reads keys and values where they lie
in the paged cache, linear layers read packed weights, and what stands between them is one call each. float32 only.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from llm_engine.batch import Batch
from llm_engine.checkpoint.families import DecoderConfig
from llm_engine.operators.layers import angles
from llm_kernels import cpu


@dataclass(frozen=True, slots=True)
class PackedLinear:
    weight: cpu.PackedWeight
    bias: Tensor | None

    @classmethod
    def of(cls, weight: Tensor, bias: Tensor | None) -> PackedLinear:
        return cls(cpu.pack(weight), bias)

    def __call__(self, x: Tensor) -> Tensor:
        return cpu.linear(x, self.weight, self.bias)


class CppBackend:
    def __init__(self, config: DecoderConfig, max_model_len: int) -> None:
        self._config = config
        self._sizes = [config.num_heads, config.num_kv_heads, config.num_kv_heads]
        turns = angles(config.rope, max_model_len)
        self._cos_sin = torch.cat((turns.cos(), turns.sin()), dim=-1)
        """[max_model_len, rotated dimensions]"""

    def plan(self, batch: Batch) -> Batch:
        return batch

    def attend(
        self, qkv: Tensor, norms: tuple[Tensor, Tensor] | None, cache: Tensor, plan: Batch, window: int | None
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
