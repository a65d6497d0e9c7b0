"""AWQ, activation-aware weight quantization (Lin et al., 2023, arXiv:2306.00978).

A few channels carry large activations, and the weights that read them matter most. Scaled by s > 1 before they are
rounded, such a weight's relative error falls by s (equation 3). The scales are a mean of what the channels carry and of
what the weights already have room for (equation 5, as in the authors' code):

    s = mean|X|^r / (mean|W / max_group|W||)^(1 - r)        r = 0, 0.05, … 0.95

The r with the least error of the module's output wins. Then each group's range is searched for a smaller one that
rounds better at the output: min over c of sum over tokens ((w - w'_c) x_group)^2.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from llm_quantize.algorithms.grid import Grid
from llm_quantize.algorithms.scaling import SMALLEST, centred

STEPS = 20
CLIP_NORM = 2.0
"""Exponent of the clip search's error: nothing makes up for it afterwards."""


def candidates(inputs: Tensor, weights: Sequence[Tensor], grid: Grid) -> Iterator[tuple[float | None, Tensor]]:
    """Yield (r, scales [in]) for inputs with mean |x| `inputs` [in] that `weights`, each [out, in], read.

    The first has scales of 1: plain rounding.
    """
    yield None, torch.ones_like(inputs)
    room = weight_means(weights, grid)
    for step in range(STEPS):
        ratio = step / STEPS
        yield ratio, centred(inputs.pow(ratio) / (room.pow(1 - ratio) + SMALLEST))


def weight_means(weights: Sequence[Tensor], grid: Grid) -> Tensor:
    """Return, for each input, the mean of |w| as a share of its group's maximum: [in]."""
    stacked = torch.cat([weight.float().abs() for weight in weights])
    out, inputs = stacked.shape
    grouped = stacked.view(out, -1, grid.width(inputs))
    return (grouped / grouped.amax(dim=2, keepdim=True).clamp(min=1e-6)).mean(dim=0).view(-1)
