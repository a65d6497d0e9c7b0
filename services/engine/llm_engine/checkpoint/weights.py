"""From a Hugging Face folder (or hub name) to weights: config.json, one or more safetensors files.

Split projections are fused on the way, so that the decoder sees one form only. Every tensor's shape is checked
against config.json, and whatever is missing or disagrees is named.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from llm_engine.checkpoint.families import DecoderConfig
from llm_engine.decoder import DecoderWeights, LayerWeights
from llm_engine.errors import ModelError
from llm_engine.linear import Linear, make_linear
from llm_engine.sharding import Shard


def resolve_model(name: str) -> Path:
    """The model's folder; a name that is no path is fetched from the Hugging Face hub."""
    path = Path(name).expanduser()
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise ModelError(f"{path} is no model folder: it has no config.json")
        return path
    if path.exists() or path.is_absolute() or name.startswith(".") or name.count("/") != 1:
        raise ModelError(f"{name} is no model folder, and no name on the Hugging Face hub (owner/name)")
    return _download(name)


def read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read: {error}") from None
    if not isinstance(value, dict):
        raise ModelError(f"{path} must hold a JSON object")
    return value


def load_weights(
    folder: Path, config: DecoderConfig, dtype: torch.dtype, device: torch.device, shard: Shard | None = None
) -> DecoderWeights:
    """`config` describes the whole model; what is loaded is the shard's part."""
    shard = shard or Shard()
    checkpoint = Checkpoint(folder, dtype, device, shard)
    hidden, norm = config.hidden_size, _NormReader(checkpoint, config)
    embedding = checkpoint.get("model.embed_tokens.weight", config.vocab_size, hidden)
    head = embedding if config.tie_embeddings else checkpoint.get("lm_head.weight", config.vocab_size, hidden)
    layers = shard.layers(config.num_layers)
    return DecoderWeights(
        embedding=embedding,
        layers=tuple(_layer(checkpoint, norm, f"model.layers.{index}", config) for index in layers),
        norm=norm.get("model.norm.weight", hidden),
        head=make_linear(shard.part(head)),
    )


def _layer(checkpoint: Checkpoint, norm: _NormReader, prefix: str, config: DecoderConfig) -> LayerWeights:
    hidden, inner, kv_heads = config.hidden_size, config.intermediate_size, config.num_kv_heads
    attention, mlp = f"{prefix}.self_attn", f"{prefix}.mlp"
    qkv = {
        "q_proj": Part(config.q_size),
        "k_proj": Part(config.kv_size, kv_heads),
        "v_proj": Part(config.kv_size, kv_heads),
    }
    gate_up = {"gate_proj": Part(inner), "up_proj": Part(inner)}
    return LayerWeights(
        input_norm=norm.get(f"{prefix}.input_layernorm.weight", hidden),
        qkv=checkpoint.columns(attention, "qkv_proj", qkv, hidden, config.qkv_bias),
        q_norm=norm.get(f"{attention}.q_norm.weight", config.head_dim) if config.qk_norm else None,
        k_norm=norm.get(f"{attention}.k_norm.weight", config.head_dim) if config.qk_norm else None,
        o=checkpoint.rows(f"{attention}.o_proj", hidden, config.q_size, config.o_bias),
        mlp_norm=norm.get(f"{prefix}.post_attention_layernorm.weight", hidden),
        gate_up=checkpoint.columns(mlp, "gate_up_proj", gate_up, hidden, config.mlp_bias),
        down=checkpoint.rows(f"{mlp}.down_proj", hidden, inner, config.mlp_bias),
    )


@dataclass(frozen=True, slots=True)
class Part:
    """One of the projections that make a fused one."""

    size: int
    num_kv_heads: int | None = None
    """Of a key or value projection, which is cut by heads."""


class Checkpoint:
    """The tensors of a folder's safetensors files by name, read when asked for."""

    def __init__(self, folder: Path, dtype: torch.dtype, device: torch.device, shard: Shard) -> None:
        self._folder = folder
        self._shard = shard
        self._dtype = dtype
        self._device = device
        self._files: dict[str, Any] = {}
        for path in sorted(folder.glob("*.safetensors")):
            try:
                handle: Any = safe_open(path, framework="pt", device="cpu")
            except (OSError, SafetensorError) as error:
                raise ModelError(f"{path} is no safetensors file: {error}") from None
            self._files.update(dict.fromkeys(handle.keys(), handle))
        if not self._files:
            raise ModelError(f"{folder} has no *.safetensors file with weights")

    def __contains__(self, name: str) -> bool:
        return name in self._files

    def get(self, name: str, *shape: int) -> Tensor:
        """The tensor, on the device and in the engine's type; ModelError if it is missing or shaped otherwise."""
        if name not in self._files:
            raise ModelError(f"{self._folder}: the weights lack {name}")
        tensor: Tensor = self._files[name].get_tensor(name)
        if tuple(tensor.shape) != shape:
            raise ModelError(
                f"{self._folder}: {name} has shape {tuple(tensor.shape)}, but config.json asks for {shape}"
            )
        return tensor.to(self._device, self._dtype)

    def rows(self, name: str, out_features: int, in_features: int, bias: bool) -> Linear:
        """A projection whose inputs are spread over the ranks; the sum of their results has the bias once."""
        weight, b = self._weight_and_bias(name, out_features, in_features, bias)
        return make_linear(self._shard.part(weight, 1).contiguous(), b if self._shard.tensor_rank == 0 else None)

    def columns(self, prefix: str, name: str, parts: dict[str, Part], in_features: int, bias: bool) -> Linear:
        """A projection whose outputs are spread over the ranks: `parts` stacked in order, `name` where the checkpoint
        has them in one."""
        sizes = [part.size for part in parts.values()]
        if f"{prefix}.{name}.weight" in self:
            weight, b = self._weight_and_bias(f"{prefix}.{name}", sum(sizes), in_features, bias)
            weights, biases = list(torch.split(weight, sizes)), [] if b is None else list(torch.split(b, sizes))
        else:
            pairs = [
                self._weight_and_bias(f"{prefix}.{part}", sizes[i], in_features, bias) for i, part in enumerate(parts)
            ]
            weights, biases = [pair[0] for pair in pairs], [pair[1] for pair in pairs if pair[1] is not None]
        return make_linear(self._stack(weights, parts), self._stack(biases, parts) if biases else None)

    def _stack(self, tensors: list[Tensor], parts: dict[str, Part]) -> Tensor:
        shard = self._shard
        mine = [
            shard.part(tensor) if part.num_kv_heads is None else shard.kv_part(tensor, part.num_kv_heads)
            for tensor, part in zip(tensors, parts.values(), strict=True)
        ]
        return torch.cat(mine)

    def _weight_and_bias(
        self, name: str, out_features: int, in_features: int, bias: bool
    ) -> tuple[Tensor, Tensor | None]:
        weight = self.get(f"{name}.weight", out_features, in_features)
        return weight, self.get(f"{name}.bias", out_features) if bias else None


class _NormReader:
    """Norm weights; with an offset (Gemma's 1 + w) in float32, since the sum would not survive bfloat16."""

    def __init__(self, checkpoint: Checkpoint, config: DecoderConfig) -> None:
        self._checkpoint = checkpoint
        self._offset = config.norm_offset

    def get(self, name: str, size: int) -> Tensor:
        weight = self._checkpoint.get(name, size)
        return weight.float() + self._offset if self._offset else weight


def _download(name: str) -> Path:
    from huggingface_hub import snapshot_download  # comes with transformers; pants: no-infer-dep

    try:
        return Path(snapshot_download(name, allow_patterns=["*.json", "*.safetensors", "*.jinja"]))
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise ModelError(f"{name} is no folder and could not be fetched from the Hugging Face hub: {reason}") from None
