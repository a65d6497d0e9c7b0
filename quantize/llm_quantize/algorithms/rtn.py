"""Round to nearest: each weight takes the closest code. It needs no data, and every other method must beat it."""

from __future__ import annotations

from torch import Tensor

from llm_quantize.algorithms.grid import Grid, QuantizedWeight, encode, fit, pack


def rtn(weight: Tensor, grid: Grid, *, clip_norm: float | None = None) -> QuantizedWeight:
    """Return `weight` [out, in] rounded to nearest, in ranges that `clip_norm` chooses (`grid.fit`)."""
    parameters = fit(weight.float(), grid, clip_norm=clip_norm)
    return pack(encode(weight.float(), parameters, grid), parameters, grid)
