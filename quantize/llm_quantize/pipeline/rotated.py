"""A checkpoint seen through a rotation of its residual stream: every tensor is rotated when it is read.

The rest of the pipeline does not know about it: a rotated model is a model of the same architecture. Only the head and
the embedding part, because the last norm's weights go into the head.
"""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import PretrainedConfig

from llm_quantize.algorithms.rotation import hadamard, rotate_heads, rotate_reader, rotate_writer
from llm_quantize.checkpoint import Weights
from llm_quantize.errors import ModelError
from llm_quantize.pipeline.structure import ATTENTION, INPUT_NORM, MLP, MLP_NORM

EMBEDDING, LAST_NORM, HEAD = "model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"
READERS = {
    **{f"{ATTENTION}.{name}.weight": INPUT_NORM for name in ("q_proj", "k_proj", "v_proj", "qkv_proj")},
    **{f"{MLP}.{name}.weight": MLP_NORM for name in ("gate_proj", "up_proj", "gate_up_proj")},
}
"""Layer that reads the residual stream -> the norm before it."""
WRITERS = {f"{part}.{kind}" for part in (f"{ATTENTION}.o_proj", f"{MLP}.down_proj") for kind in ("weight", "bias")}
NORMS = {f"{norm}.weight" for norm in (INPUT_NORM, MLP_NORM)}
KEPT = {
    *(f"{ATTENTION}.{name}.bias" for name in ("q_proj", "k_proj", "v_proj", "qkv_proj")),
    *(f"{ATTENTION}.{name}_norm.weight" for name in ("q", "k")),
    *(f"{MLP}.{name}.bias" for name in ("gate_proj", "up_proj", "gate_up_proj")),
}
"""Tensors that see no residual stream."""


class Rotated:
    """The weights of a model whose residual stream is rotated."""

    def __init__(self, weights: Weights, config: PretrainedConfig, seed: int) -> None:
        """Take the rotation from `seed`. ModelError if the model has tensors whose place is not known."""
        self._weights = weights
        self._offset = 1.0 if config.model_type == "gemma" else 0.0
        heads = config.num_attention_heads
        self._head_size = getattr(config, "head_dim", None) or config.hidden_size // heads
        self._kv_size = (getattr(config, "num_key_value_heads", None) or heads) * self._head_size
        self._stream = hadamard(config.hidden_size, seed)
        self._heads = hadamard(self._head_size, seed + 1)
        self.names = frozenset(weights.names | {HEAD})
        for name in self.names:
            local = _local(name)
            if name not in (EMBEDDING, LAST_NORM, HEAD) and local not in READERS.keys() | WRITERS | NORMS | KEPT:
                raise ModelError(f"{name} is not a tensor of the families that can be rotated; use another method")

    def get(self, name: str) -> Tensor:
        """Return a tensor, rotated, in float32 if it changes."""
        local, block = _local(name), name.removesuffix(_local(name))
        if name == EMBEDDING:
            return self._weights.get(name).float() @ self._stream
        if name == HEAD:
            stored = HEAD if HEAD in self._weights.names else EMBEDDING
            return rotate_reader(self._weights.get(stored), self._stream, self._norm(LAST_NORM))
        if name == LAST_NORM or local in NORMS:
            return torch.full_like(self._weights.get(name), 1 - self._offset)
        tensor = self._weights.get(name)
        if local in READERS:
            tensor = rotate_reader(tensor, self._stream, self._norm(f"{block}{READERS[local]}.weight"))
        if local == f"{ATTENTION}.o_proj.weight":
            tensor = rotate_heads(tensor, self._heads, writes=False)
        if local in WRITERS:
            tensor = rotate_writer(tensor, self._stream)
        return self._rotate_values(tensor, local)

    def _rotate_values(self, tensor: Tensor, local: str) -> Tensor:
        """Rotate the rows of v_proj, or the last ones of a fused projection."""
        layer = local.rpartition(".")[0]
        if layer not in (f"{ATTENTION}.v_proj", f"{ATTENTION}.qkv_proj"):
            return tensor
        others = len(tensor) - self._kv_size
        return torch.cat([tensor[:others].float(), rotate_heads(tensor[others:], self._heads, writes=True)])

    def _norm(self, name: str) -> Tensor:
        return self._weights.get(name).float() + self._offset


def _local(name: str) -> str:
    """Return a tensor's name within its block: `model.layers.3.mlp.up_proj.weight` -> `mlp.up_proj.weight`."""
    parts = name.split(".")
    at = next((index for index, part in enumerate(parts) if part.isdigit()), -1)
    return ".".join(parts[at + 1 :])
