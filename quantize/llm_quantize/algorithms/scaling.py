"""Scale channels by what reads them: the search that AWQ and SmoothQuant share.

A layer W reads x, and the operation before it can produce x / s instead, so that W s reads it. Nothing changes:

    (W diag(s)) (diag(s)^-1 x) = W x

but a larger s moves range from an input's values into its weights, where rounding costs less, or more. Both methods
have a family of scales with one parameter, and take the member with the least error at the output.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

SMALLEST = 1e-4


@dataclass(frozen=True, slots=True)
class Choice:
    """The scales that were chosen."""

    parameter: float | None
    """The family's parameter; None: no scaling."""
    scales: Tensor
    """[in]"""
    loss: float


def choose(candidates: Iterable[tuple[float | None, Tensor]], loss: Callable[[Tensor], float]) -> Choice:
    """Return the candidate (parameter, scales) with the least loss. The first one wins a tie."""
    choices = [Choice(parameter, scales, loss(scales)) for parameter, scales in candidates]
    return min(choices, key=lambda choice: choice.loss)


def centred(scales: Tensor) -> Tensor:
    """Return the scales, kept positive, divided so that the largest and the smallest multiply to 1."""
    scales = scales.clamp(min=SMALLEST)
    scales = scales / (scales.max().sqrt() * scales.min().sqrt())
    return torch.where(scales.isfinite(), scales, 1.0)
