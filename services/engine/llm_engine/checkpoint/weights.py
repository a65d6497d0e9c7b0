"""From a checkpoint's tensors to the decoder's weights.

Split projections are joined, and fused ones are split for sharding, so the decoder sees a single form and each rank
gets its part. Every tensor's shape is checked against config.json. Errors name the tensor that is missing or wrong.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from typing import TypeVar

import torch
from torch import Tensor

from llm_engine.checkpoint.families import DecoderConfig
from llm_engine.checkpoint.formats import read_quantized
from llm_engine.checkpoint.quantization import Quantization
from llm_engine.checkpoint.source import Source
from llm_engine.errors import ModelError
from llm_engine.operators.linear import Linear, make_linear
from llm_engine.operators.quantized import QuantizedWeight, Weight, join, quantized_linear
from llm_engine.operators.weights import DecoderWeights, LayerWeights
from llm_engine.parallel.sharding import Shard

W = TypeVar("W", Tensor, Weight)


def load_weights(
    source: Source, config: DecoderConfig, shard: Shard | None = None, backend: str = "torch"
) -> DecoderWeights:
    """Load the shard's part of the weights. ModelError if a tensor is missing or wrong.

    `config` describes the whole model. `backend` names the kind of linear layers to make.
    """
    shard = shard or Shard()
    if f"model.layers.{config.num_layers}.input_layernorm.weight" in source:
        raise ModelError(f"the weights have more than the {config.num_layers} layers in config.json")
    fused = _Fused(source, config.quantization, shard, backend)
    hidden, norm = config.hidden_size, _NormReader(source, config)
    embedding = source.get("model.embed_tokens.weight", config.vocab_size, hidden)
    head = _head(fused, source, config, embedding)
    return DecoderWeights(
        embedding=embedding,
        layers=tuple(_layer(fused, norm, f"model.layers.{index}", config) for index in shard.layers(config.num_layers)),
        norm=norm.get("model.norm.weight", hidden),
        head=fused.linear(shard.part(head), None),
    )


def _head(fused: _Fused, source: Source, config: DecoderConfig, embedding: Tensor) -> Weight:
    """Return the weights of the output head: the embedding if they are tied and the checkpoint has no other head.

    A head in the checkpoint that is quantised or differs from the embedding takes precedence, as in transformers 5.
    """
    quantized = fused.quantized("lm_head", config.vocab_size, config.hidden_size)
    if quantized is not None:
        return quantized
    if config.tie_embeddings and "lm_head.weight" not in source:
        return embedding
    head = source.get("lm_head.weight", config.vocab_size, config.hidden_size)
    return embedding if config.tie_embeddings and torch.equal(head, embedding) else head


def _layer(fused: _Fused, norm: _NormReader, prefix: str, config: DecoderConfig) -> LayerWeights:
    hidden, inner, kv_heads = config.hidden_size, config.intermediate_size, config.num_kv_heads
    attention, mlp = f"{prefix}.self_attn", f"{prefix}.mlp"
    qkv = {
        "q_proj": Part(config.q_size),
        "k_proj": Part(config.kv_size, kv_heads),
        "v_proj": Part(config.kv_size, kv_heads),
    }
    gate_up = {"gate_proj": Part(inner), "up_proj": Part(inner)}

    def qk_norm(name: str) -> Tensor:
        return norm.get(f"{attention}.{name}.weight", config.head_dim)

    return LayerWeights(
        input_norm=norm.get(f"{prefix}.input_layernorm.weight", hidden),
        qkv=fused.columns(attention, "qkv_proj", qkv, hidden, bias=config.qkv_bias),
        qk_norms=(qk_norm("q_norm"), qk_norm("k_norm")) if config.qk_norm else None,
        o=fused.rows(f"{attention}.o_proj", hidden, config.q_size, config.o_bias),
        mlp_norm=norm.get(f"{prefix}.post_attention_layernorm.weight", hidden),
        gate_up=fused.columns(mlp, "gate_up_proj", gate_up, hidden, bias=config.mlp_bias),
        down=fused.rows(f"{mlp}.down_proj", hidden, inner, config.mlp_bias),
        kv_scales=fused.kv_scales(attention),
    )


@dataclass(frozen=True, slots=True)
class Part:
    """One of the projections in a fused projection."""

    size: int
    num_kv_heads: int | None = None
    """Number of heads of a key or value projection, which is split by heads."""


class _Fused:
    """The linear layers of this rank, made from the checkpoint's split or fused projections."""

    def __init__(self, source: Source, quantization: Quantization | None, shard: Shard, backend: str) -> None:
        self._source = source
        self._quantization = quantization
        self._shard = shard
        self._backend = backend

    def rows(self, name: str, out_features: int, in_features: int, bias: bool) -> Linear:
        """Make a projection whose inputs are split over the ranks. Only rank 0 has the bias: results are summed."""
        weight, b = self._weight_and_bias(name, out_features, in_features, bias)
        return self.linear(self._shard.part(weight, 1), b if self._shard.tensor_rank == 0 else None)

    def columns(self, prefix: str, name: str, parts: dict[str, Part], in_features: int, *, bias: bool) -> Linear:
        """Make a projection whose outputs are split over the ranks, with `parts` stacked in order.

        `name` is the projection's name in checkpoints that store the parts fused.
        """
        sizes = [part.size for part in parts.values()]
        if self._has(f"{prefix}.{name}"):
            whole, b = self._weight_and_bias(f"{prefix}.{name}", sum(sizes), in_features, bias)
            starts = (0, *accumulate(sizes[:-1]))
            weights = [whole.narrow(0, start, size) for start, size in zip(starts, sizes, strict=True)]
            biases = [] if b is None else list(torch.split(b, sizes))
        else:
            pairs = [
                self._weight_and_bias(f"{prefix}.{part}", sizes[i], in_features, bias) for i, part in enumerate(parts)
            ]
            weights, biases = [pair[0] for pair in pairs], [pair[1] for pair in pairs if pair[1] is not None]
        mine = join(self._cut(weights, parts))
        return self.linear(mine, torch.cat(self._cut(biases, parts)) if biases else None)

    def _cut(self, tensors: list[W], parts: dict[str, Part]) -> list[W]:
        shard = self._shard
        return [
            shard.part(tensor) if part.num_kv_heads is None else shard.kv_part(tensor, part.num_kv_heads)
            for tensor, part in zip(tensors, parts.values(), strict=True)
        ]

    def quantized(self, name: str, out_features: int, in_features: int) -> QuantizedWeight | None:
        """Return the weight of the projection `name`, or None if it is not quantised."""
        if self._quantization is None:
            return None
        return read_quantized(self._source, self._quantization, name, out_features, in_features=in_features)

    def kv_scales(self, attention: str) -> Tensor | None:
        """Return the scales of a layer's keys and values in an FP8 cache, [2, 1], or None if there are none."""
        if f"{attention}.k_scale" not in self._source:
            return None
        scales = [self._source.get(f"{attention}.{name}", 1, raw=True) for name in ("k_scale", "v_scale")]
        return torch.stack(scales).float()

    def linear(self, weight: Weight, bias: Tensor | None) -> Linear:
        if isinstance(weight, Tensor):
            return make_linear(weight.contiguous(), bias, self._backend)
        return quantized_linear(weight, bias, self._source.dtype, self._backend)

    def _has(self, name: str) -> bool:
        return any(f"{name}.{tensor}" in self._source for tensor in ("weight", "weight_packed", "qweight"))

    def _weight_and_bias(
        self, name: str, out_features: int, in_features: int, bias: bool
    ) -> tuple[Weight, Tensor | None]:
        source = self._source
        weight: Weight | None = self.quantized(name, out_features, in_features)
        if weight is None:
            weight = source.get(f"{name}.weight", out_features, in_features)
        return weight, source.get(f"{name}.bias", out_features) if bias else None


class _NormReader:
    """A reader of norm weights. With an offset (Gemma's 1 + w) they are float32, as bfloat16 would round the sum."""

    def __init__(self, source: Source, config: DecoderConfig) -> None:
        self._source = source
        self._offset = config.norm_offset

    def get(self, name: str, size: int) -> Tensor:
        weight = self._source.get(name, size)
        return weight.float() + self._offset if self._offset else weight
