"""FP8: weights and inputs as 8-bit floats, e4m3 (Micikevicius et al., 2022, arXiv:2209.05433).

e4m3 has 4 bits of exponent and 3 of mantissa, reaches 448 and has no infinity. Its steps grow with the value, so an
outlier costs the other weights of its channel little:

    s = max|w| / 448        q = fp8(w / s)        w' = s q,     |w' - w| <= |w| / 16 above the smallest normal number
"""

from __future__ import annotations

import torch
from torch import Tensor

from llm_quantize.algorithms.grid import PER_TENSOR, Grid, QuantizedWeight

FP8 = torch.float8_e4m3fn
LARGEST = 448.0


def fp8(weight: Tensor, grid: Grid) -> QuantizedWeight:
    """Return `weight` [out, in] as e4m3 with one scale per output channel, or for all if the grid is PER_TENSOR."""
    weight = weight.float()
    largest = weight.abs().amax(dim=1, keepdim=True)
    if grid.group_size == PER_TENSOR:
        largest = largest.amax().expand_as(largest)
    scales = largest / LARGEST
    smallest = torch.finfo(grid.scale_dtype).tiny
    scales = torch.where(scales > 0, scales.clamp(min=smallest), 1.0).to(grid.scale_dtype)
    codes = (weight / scales.float()).clamp(-LARGEST, LARGEST).to(FP8)
    return QuantizedWeight(codes, scales, None, grid)
