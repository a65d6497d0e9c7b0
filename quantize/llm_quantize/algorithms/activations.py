"""Rounding of a layer's inputs at run time, one scale per token: the "A8" of W8A8.

    int8   s = max|x| / 127    x' = s clamp(round(x / s), -127, 127)
    fp8    s = max|x| / 448    x' = s fp8(x / s)

An engine rounds so before the multiplication. Here it is a simulation, so that searches and evaluations see it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from llm_quantize.algorithms.fp8 import FP8
from llm_quantize.algorithms.fp8 import LARGEST as LARGEST_FP8

LARGEST_INT8 = 127.0


def round_int8(x: Tensor) -> Tensor:
    """Return x [..., in] as 8-bit integers per token would have it."""
    scales = _scales(x, LARGEST_INT8)
    return ((x.float() / scales).round_() * scales).to(x.dtype)


def round_fp8(x: Tensor) -> Tensor:
    """Return x [..., in] as e4m3 per token would have it."""
    scales = _scales(x, LARGEST_FP8)
    return ((x.float() / scales).clamp_(-LARGEST_FP8, LARGEST_FP8).to(FP8).float() * scales).to(x.dtype)


def _scales(x: Tensor, largest: float) -> Tensor:
    return (x.float().abs().amax(dim=-1, keepdim=True) / largest).clamp_(min=torch.finfo(torch.float32).tiny)
