"""What distinguishes the supported architectures, read from a Hugging Face config.json.

One decoder serves them all; a family is a handful of answers: are the projections biased, are queries and keys
normalised, which layers slide, how is the norm's weight applied, are the embeddings scaled. Fused checkpoints (Phi-3)
and split ones end up as the same fused weights. To add a family, add a function here and to FAMILIES.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from llm_engine.checkpoint.quantization import Quantization, parse_quantization
from llm_engine.errors import ModelError


@dataclass(frozen=True, slots=True)
class RopeConfig:
    theta: float
    dim: int
    """Rotated dimensions of a head; the rest passes through."""
    kind: str = "default"
    """default, linear or llama3."""
    factor: float = 1.0
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    original_max_position: int = 8192


@dataclass(frozen=True, slots=True)
class DecoderConfig:
    family: str
    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    max_position: int
    rms_norm_eps: float
    rope: RopeConfig
    windows: tuple[int | None, ...]
    """Per layer: how many tokens back, itself included, a token sees; None: all."""
    tie_embeddings: bool
    activation: str
    """silu or gelu_tanh."""
    dtype: str
    qkv_bias: bool = False
    o_bias: bool = False
    mlp_bias: bool = False
    qk_norm: bool = False
    norm_offset: float = 0.0
    """Added to every norm's weight: Gemma stores w - 1."""
    embed_scale: float = 1.0
    quantization: Quantization | None = None

    @property
    def q_size(self) -> int:
        return self.num_heads * self.head_dim

    @property
    def kv_size(self) -> int:
        return self.num_kv_heads * self.head_dim

    @property
    def num_linear_parameters(self) -> int:
        """Of all layers' projections."""
        attention = self.hidden_size * 2 * (self.q_size + self.kv_size)
        return self.num_layers * (attention + 3 * self.hidden_size * self.intermediate_size)

    @property
    def num_embedding_parameters(self) -> int:
        return self.vocab_size * self.hidden_size * (1 if self.tie_embeddings else 2)


def parse_config(config: dict[str, Any]) -> DecoderConfig:
    """The decoder that `config` (a parsed config.json) describes; ModelError if we cannot build it."""
    family = config.get("model_type")
    if family not in FAMILIES:
        known = ", ".join(sorted(FAMILIES))
        raise ModelError(f"model_type {family!r} is not supported; supported are {known}")
    quantization = parse_quantization(config.get("quantization_config"))
    try:
        return replace(FAMILIES[family](_common(config), config), quantization=quantization)
    except KeyError as error:
        raise ModelError(f"config.json lacks {error.args[0]!r}") from None


def _common(config: dict[str, Any]) -> DecoderConfig:
    num_heads = config["num_attention_heads"]
    head_dim = config.get("head_dim") or config["hidden_size"] // num_heads
    return DecoderConfig(
        family=config["model_type"],
        vocab_size=config["vocab_size"],
        hidden_size=config["hidden_size"],
        intermediate_size=config["intermediate_size"],
        num_layers=config["num_hidden_layers"],
        num_heads=num_heads,
        num_kv_heads=config.get("num_key_value_heads") or num_heads,
        head_dim=head_dim,
        max_position=config["max_position_embeddings"],
        rms_norm_eps=config.get("rms_norm_eps", 1e-6),
        rope=_rope(config, head_dim),
        windows=(None,) * config["num_hidden_layers"],
        tie_embeddings=config.get("tie_word_embeddings", False),
        activation=_activation(config.get("hidden_act", "silu")),
        dtype=config.get("dtype") or config.get("torch_dtype") or "float32",
    )


def _llama(base: DecoderConfig, config: dict[str, Any]) -> DecoderConfig:
    bias = config.get("attention_bias", False)
    return replace(base, qkv_bias=bias, o_bias=bias, mlp_bias=config.get("mlp_bias", False))


def _mistral(base: DecoderConfig, config: dict[str, Any]) -> DecoderConfig:
    return replace(base, windows=(config.get("sliding_window"),) * base.num_layers)


def _qwen2(base: DecoderConfig, config: dict[str, Any]) -> DecoderConfig:
    return replace(base, qkv_bias=True, windows=_qwen_windows(config))


def _qwen3(base: DecoderConfig, config: dict[str, Any]) -> DecoderConfig:
    bias = config.get("attention_bias", False)
    return replace(base, qkv_bias=bias, o_bias=bias, qk_norm=True, windows=_qwen_windows(config))


def _gemma(base: DecoderConfig, config: dict[str, Any]) -> DecoderConfig:
    if config.get("use_bidirectional_attention"):
        raise ModelError("use_bidirectional_attention is set; only causal models are supported")
    bias = config.get("attention_bias", False)
    return replace(
        base,
        qkv_bias=bias,
        o_bias=bias,
        tie_embeddings=config.get("tie_word_embeddings", True),
        # `hidden_act: gelu` in old checkpoints means the tanh form as well
        activation="gelu_tanh",
        norm_offset=1.0,
        embed_scale=math.sqrt(base.hidden_size),
    )


def _phi3(base: DecoderConfig, config: dict[str, Any]) -> DecoderConfig:
    return replace(base, windows=(config.get("sliding_window"),) * base.num_layers)


FAMILIES: dict[str, Callable[[DecoderConfig, dict[str, Any]], DecoderConfig]] = {
    "llama": _llama,
    "mistral": _mistral,
    "qwen2": _qwen2,
    "qwen3": _qwen3,
    "gemma": _gemma,
    "phi3": _phi3,
}


def _qwen_windows(config: dict[str, Any]) -> tuple[int | None, ...]:
    window = config.get("sliding_window") if config.get("use_sliding_window") else None
    first = config.get("max_window_layers", config["num_hidden_layers"])
    types = config.get("layer_types") or [
        "sliding_attention" if index >= first else "full_attention" for index in range(config["num_hidden_layers"])
    ]
    return tuple(window if kind == "sliding_attention" else None for kind in types)


def _rope(config: dict[str, Any], head_dim: int) -> RopeConfig:
    """transformers 5 writes `rope_parameters`; before, there were `rope_theta` and `rope_scaling`."""
    rope = {**(config.get("rope_scaling") or {}), **(config.get("rope_parameters") or {})}
    kind = rope.get("rope_type") or rope.get("type") or "default"
    if kind not in ("default", "linear", "llama3"):
        raise ModelError(f"rope type {kind!r} is not supported; supported are default, linear and llama3")
    partial = rope.get("partial_rotary_factor") or config.get("partial_rotary_factor") or 1.0
    return RopeConfig(
        theta=rope.get("rope_theta") or config.get("rope_theta") or 10_000.0,
        dim=int(head_dim * partial),
        kind=kind,
        factor=rope.get("factor", 1.0),
        low_freq_factor=rope.get("low_freq_factor", 1.0),
        high_freq_factor=rope.get("high_freq_factor", 4.0),
        original_max_position=rope.get("original_max_position_embeddings", 8192),
    )


def _activation(name: str) -> str:
    if name == "silu":
        return "silu"
    if name in ("gelu_pytorch_tanh", "gelu_new", "gelu"):
        return "gelu_tanh" if name != "gelu" else "gelu"
    raise ModelError(f"hidden_act {name!r} is not supported; supported are silu and gelu_pytorch_tanh")
