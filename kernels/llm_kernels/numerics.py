"""The precision that references compute in, and how errors are measured."""

from __future__ import annotations

import torch
from torch import Tensor


def wide(x: Tensor) -> Tensor:
    """Return float32 for narrower types; keep float64, in which the exact results are computed."""
    return x if x.dtype == torch.float64 else x.float()


def accumulator(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32
