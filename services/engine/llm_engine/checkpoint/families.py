"""Model families: the differences between the supported architectures, read from a Hugging Face config.json.

One decoder serves all of them. A family answers a few questions: do the projections have biases, are queries and keys
normalised, which layers use a sliding window, how is the norm's weight applied, are the embeddings scaled? Fused
checkpoints (Phi-3) and split ones become the same fused weights. To add a family, write a function here and add it to
FAMILIES.
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
    """The rotary position embedding of a model."""

    theta: float
    dim: int
    """Rotated dimensions of a head. The others stay as they are."""
    kind: str = "default"
    """default, linear or llama3."""
    factor: float = 1.0
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    original_max_position: int = 8192


@dataclass(frozen=True, slots=True, kw_only=True)
class DecoderConfig:
    """The architecture of a model, whatever its family."""

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
    """Per layer: how many tokens a token attends to, itself included. None: all."""
    tie_embeddings: bool
    activation: str
    """silu, gelu or gelu_tanh."""
    dtype: str
    qkv_bias: bool = False
    o_bias: bool = False
    mlp_bias: bool = False
    qk_norm: bool = False
    norm_offset: float = 0.0
    """Added to the weight of every norm: Gemma stores w - 1."""
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
        """The number of weights in the projections of all layers."""
        attention = self.hidden_size * 2 * (self.q_size + self.kv_size)
        return self.num_layers * (attention + 3 * self.hidden_size * self.intermediate_size)

    @property
    def num_embedding_parameters(self) -> int:
        return self.vocab_size * self.hidden_size * (1 if self.tie_embeddings else 2)


def parse_config(config: dict[str, Any]) -> DecoderConfig:
    """Return the decoder that `config`, a parsed config.json, describes. ModelError if it is not supported."""
    family = config.get("model_type")
    if family not in FAMILIES:
        known = ", ".join(sorted(FAMILIES))
        raise ModelError(f"model_type {family!r} is not supported; supported: {known}")
    _check_architecture(config)
    quantization = parse_quantization(config.get("quantization_config"))
    config = {**DEFAULTS[family], **config}
    try:
        decoder = replace(FAMILIES[family](_common(config), config), quantization=quantization)
    except KeyError as error:
        raise ModelError(f"config.json lacks {error.args[0]!r}") from None
    if decoder.num_heads % decoder.num_kv_heads:
        raise ModelError(
            f"num_attention_heads ({decoder.num_heads}) must be a multiple of num_key_value_heads "
            f"({decoder.num_kv_heads})"
        )
    if any(window is not None and window < 2 for window in decoder.windows):
        # With a window of 1, transformers itself generates other tokens with its cache than without.
        raise ModelError(f"sliding_window is {config['sliding_window']}; it must be at least 2, or null for none")
    return decoder


DEFAULTS: dict[str, dict[str, Any]] = {
    "llama": {},
    "mistral": {"num_key_value_heads": 8, "sliding_window": 4096},
    "qwen2": {"num_key_value_heads": 32, "sliding_window": 4096, "max_window_layers": 28},
    "qwen3": {"num_key_value_heads": 32, "sliding_window": 4096, "max_window_layers": 28, "head_dim": 128},
    "gemma": {
        "num_key_value_heads": 16,
        "head_dim": 256,
        "hidden_act": "gelu_pytorch_tanh",
        "tie_word_embeddings": True,
    },
    "phi3": {"rms_norm_eps": 1e-5},
}
"""Values of keys that config.json leaves out, as in transformers. The model's sizes have no default."""


def _check_architecture(config: dict[str, Any]) -> None:
    names = config.get("architectures") or []
    if names and not any(name.endswith("ForCausalLM") for name in names):
        raise ModelError(f"architectures is {names}; only causal language models are supported")


def _common(config: dict[str, Any]) -> DecoderConfig:
    num_heads = config["num_attention_heads"]
    head_dim = config.get("head_dim") or config["hidden_size"] // num_heads
    activation = config.get("hidden_act", "silu")
    if activation not in ACTIVATIONS:
        raise ModelError(f"hidden_act {activation!r} is not supported; supported: {', '.join(ACTIVATIONS)}")
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
        activation=ACTIVATIONS[activation],
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
        # In old Gemma checkpoints, `hidden_act: gelu` means the tanh form.
        activation="gelu_tanh" if base.activation == "gelu" else base.activation,
        norm_offset=1.0,
        embed_scale=math.sqrt(base.hidden_size),
    )


def _phi3(base: DecoderConfig, config: dict[str, Any]) -> DecoderConfig:
    if base.rope.kind != "default":
        raise ModelError(f"rope type {base.rope.kind!r} is not supported for phi3; supported: default")
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
    window = config["sliding_window"] if config.get("use_sliding_window") else None
    num_layers, first = config["num_hidden_layers"], config["max_window_layers"]
    types = config.get("layer_types") or [
        "sliding_attention" if index >= first else "full_attention" for index in range(num_layers)
    ]
    unknown = set(types) - {"sliding_attention", "full_attention"}
    if unknown or len(types) != num_layers:
        raise ModelError(
            f"layer_types has {len(types)} entries of {', '.join(sorted(set(types)))}; it must have one for each of "
            f"the {num_layers} layers, sliding_attention or full_attention"
        )
    return tuple(window if kind == "sliding_attention" else None for kind in types)


def _rope(config: dict[str, Any], head_dim: int) -> RopeConfig:
    """Read `rope_scaling`, which older versions of transformers write, or else `rope_parameters`."""
    rope = config.get("rope_scaling") or config.get("rope_parameters") or {}
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind not in ("default", "linear", "llama3"):
        raise ModelError(f"rope type {kind!r} is not supported; supported: default, linear, llama3")
    scaled = RopeConfig(
        theta=rope.get("rope_theta") or config.get("rope_theta") or 10_000.0,
        dim=_rotated_dim(
            config, rope.get("partial_rotary_factor", config.get("partial_rotary_factor")), kind, head_dim
        ),
        kind=kind,
    )
    if kind == "default":
        return scaled
    if kind == "linear":
        return replace(scaled, factor=rope["factor"])
    return replace(
        scaled,
        factor=rope["factor"],
        low_freq_factor=rope["low_freq_factor"],
        high_freq_factor=rope["high_freq_factor"],
        original_max_position=rope.get("original_max_position_embeddings") or config["max_position_embeddings"],
    )


def _rotated_dim(config: dict[str, Any], partial: float | None, kind: str, head_dim: int) -> int:
    """Return how many dimensions of a head are rotated. Only Phi-3 rotates a part.

    For other families transformers ignores `partial_rotary_factor`, or cannot run the model.
    """
    if partial is None or partial == 1:
        return head_dim
    if config["model_type"] == "phi3":
        return int(head_dim * partial)
    if kind != "default":
        raise ModelError(f"partial_rotary_factor {partial} with rope type {kind!r} is not supported")
    return head_dim


ACTIVATIONS = {
    "silu": "silu",
    "swish": "silu",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_new": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu": "gelu",
}
"""Name in transformers -> name here."""
