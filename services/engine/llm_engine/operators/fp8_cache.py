"""Keys and values in 8 bits: e4m3, with one scale for a layer's keys and one for its values.

    stored = fp8(k / scale)        k' = scale * stored

Stored values are passed around as bytes, because torch gathers and scatters no tensors of this type.
"""

from __future__ import annotations

import torch
from torch import Tensor

TYPE = torch.float8_e4m3fn
LARGEST = 448.0


def rounded(kv: Tensor, scales: Tensor | None) -> Tensor:
    """Return keys and values [tokens, 2 * kv_size] as bytes of e4m3; `scales` [2, 1], None: 1."""
    pairs = kv.float().view(len(kv), 2, -1)
    if scales is not None:
        pairs = pairs / scales
    stored = pairs.clamp(-LARGEST, LARGEST).to(TYPE)
    return stored.view(torch.uint8).view(kv.shape)


def restored(stored: Tensor, scales: Tensor | None) -> Tensor:
    """Return the keys and values of bytes [..., 2 (K, V), kv_heads, head_dim], float32."""
    kv = stored.view(TYPE).float()
    return kv if scales is None else kv * scales.unsqueeze(-1)
