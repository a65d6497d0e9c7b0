"""Round to nearest: each weight takes the closest code. It needs no data, and every other method must beat it."""

from __future__ import annotations

from torch import Tensor

from llm_quantize.algorithms.grid import Grid, QuantizedWeight, encode, fit, pack


def rtn(weight: Tensor, grid: Grid, *, clip_search: bool = False) -> QuantizedWeight:
    """Return `weight` [out, in] rounded to nearest."""
    parameters = fit(weight.float(), grid, clip_search=clip_search)
    return pack(encode(weight.float(), parameters, grid), parameters, grid)
