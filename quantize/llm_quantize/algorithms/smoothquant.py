"""SmoothQuant (Xiao et al., 2022, arXiv:2211.10438): move the activations' outliers into the weights.

Inputs that are rounded per token share one scale over all channels, so one channel of outliers costs all others their
precision; weights have no such channels. Part of the range moves over (equation 4):

    s = max|X|^a / max|W|^(1 - a)

The paper takes a = 0.5, and more for models with more outliers (0.85 for Llama). Here each norm's a is searched, and
leaving the channels as they are is one of the choices.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

ALPHAS = (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9)
SMALLEST = 1e-5


def candidates(largest: Tensor, weights: Sequence[Tensor]) -> Iterator[tuple[float | None, Tensor]]:
    """Yield (a, scales [in]) for inputs with max |x| `largest` [in] that `weights`, each [out, in], read."""
    yield None, torch.ones_like(largest)
    for alpha in ALPHAS:
        yield alpha, smoothing_scales(largest, weights, alpha)


def smoothing_scales(largest: Tensor, weights: Sequence[Tensor], alpha: float) -> Tensor:
    """Return s: [in]."""
    columns = torch.cat([weight.float().abs() for weight in weights]).amax(dim=0).clamp(min=SMALLEST)
    scales: Tensor = (largest.clamp(min=SMALLEST).pow(alpha) / columns.pow(1 - alpha)).clamp(min=SMALLEST)
    return scales
