"""The decoder's operations apart from attention, in plain torch: norm, gated activation, rotary embedding."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from llm_engine.checkpoint.families import RopeConfig


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """Return x / rms(x) * weight over the last dimension, with statistics in float32 (Zhang & Sennrich, 2019).

    A weight of a wider type than `x` (Gemma's 1 + w) is multiplied in that type before the result is rounded.
    """
    if weight.dtype is x.dtype:
        return F.rms_norm(x, weight.shape, weight, eps)
    return F.rms_norm(x.to(weight.dtype), weight.shape, weight, eps).to(x.dtype)


def gated_activation(gate_up: Tensor, activation: str) -> Tensor:
    """Return act(gate) * up: [tokens, 2 * intermediate] -> [tokens, intermediate] (Shazeer, 2020)."""
    gate, up = gate_up.chunk(2, dim=-1)
    if activation == "silu":
        return F.silu(gate).mul_(up)
    return F.gelu(gate, approximate="tanh" if activation == "gelu_tanh" else "none").mul_(up)


class RotaryEmbedding:
    """Tables of cos and sin for every position (Su et al., "RoFormer", 2021).

    The halves [a, b] of the rotated dimensions become [a cos - b sin, b cos + a sin]. The sin table contains the sign,
    so a rotation is one multiply, one roll by half and one multiply-add.
    """

    def __init__(self, rope: RopeConfig, max_position: int, dtype: torch.dtype, device: torch.device) -> None:
        self.dim = rope.dim
        turns = angles(rope, max_position)
        self._cos = torch.cat((turns.cos(), turns.cos()), dim=-1).to(device, dtype)
        self._sin = torch.cat((-turns.sin(), turns.sin()), dim=-1).to(device, dtype)

    def at(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Return cos and sin, each [tokens, 1, dim]. All layers of a step share them."""
        return self._cos[positions].unsqueeze(1), self._sin[positions].unsqueeze(1)

    def rotate_(self, heads: Tensor, cos: Tensor, sin: Tensor) -> None:
        """Rotate `heads` [tokens, heads, head_dim] in place."""
        rotated = heads[..., : self.dim]
        swapped = rotated.roll(self.dim // 2, dims=-1)
        rotated.mul_(cos).addcmul_(swapped, sin)


def angles(rope: RopeConfig, max_position: int) -> Tensor:
    """Return the angle of each pair of dimensions at each position: [max_position, dim / 2] radians."""
    return torch.outer(torch.arange(max_position, dtype=torch.float32), inverse_frequencies(rope))


def inverse_frequencies(rope: RopeConfig) -> Tensor:
    """Return the rotation per position: [dim / 2] radians, fastest first."""
    exponents = torch.arange(0, rope.dim, 2, dtype=torch.float32) / rope.dim
    frequencies = 1.0 / (rope.theta**exponents)
    if rope.kind == "linear":
        return frequencies / rope.factor
    if rope.kind == "llama3":
        return _llama3_frequencies(frequencies, rope)
    return frequencies


def _llama3_frequencies(frequencies: Tensor, rope: RopeConfig) -> Tensor:
    """Divide slow frequencies by `factor`, keep fast ones, and blend those in between (Llama 3.1)."""
    wavelengths = 2 * math.pi / frequencies
    turns = rope.original_max_position / wavelengths
    blend = ((turns - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor)).clamp(0, 1)
    return (1 - blend) * frequencies / rope.factor + blend * frequencies
