"""Scales of a KV cache in FP8: keys and values are stored as e4m3, with one scale for a layer's keys, one for values.

    s = max|k| / 448        k' = s fp8(k / s)

The maximum is that over the calibration text, keys after the rotary embedding, as they are cached.
"""

from __future__ import annotations

import torch
from torch import Tensor

from llm_quantize.algorithms.fp8 import LARGEST


class Ranges:
    """Stands in for a layer's cache and notes the range of what is stored in it."""

    def __init__(self) -> None:
        self._largest = torch.zeros(2)

    def update(self, keys: Tensor, values: Tensor, *_: object, **__: object) -> tuple[Tensor, Tensor]:
        """Note keys and values, and return them, as a cache that was empty does."""
        seen = torch.stack([keys.abs().max(), values.abs().max()]).float().cpu()
        self._largest = torch.maximum(self._largest, seen)
        return keys, values

    def scales(self) -> tuple[Tensor, Tensor]:
        """Return the scales of keys and values, each [1] float32."""
        scales = torch.where(self._largest > 0, self._largest / LARGEST, 1.0)
        return scales[:1].clone(), scales[1:].clone()
