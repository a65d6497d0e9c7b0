"""The grids that weights are rounded to.

A group of weights shares a scale s and a zero point z. Each weight w is stored as a code q of b bits:

    q = clamp(round(w / s) + z, 0, 2^b - 1)        w' = s (q - z)

    symmetric     s = 2 max|w| / (2^b - 1)         z = 2^(b-1)
    asymmetric    s = (max w - min w) / (2^b - 1)  z = clamp(round(-min w / s), 0, 2^b - 1)

The rounding error of a weight that is not clipped is at most s / 2. Source: Nagel et al., "A White Paper on Neural
Network Quantization" (2021), section 2.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

PER_CHANNEL, PER_TENSOR = -1, 0
"""Group sizes with a meaning: one group per output channel, one group for the whole tensor."""
SHRINK_STEPS, SHRINK_STEP = 40, 0.01
"""The clip search tries ranges of 100%, 99%, … 61% of a group's."""
PART = 2**17
"""Weights that a CPU searches at a time: they stay in its cache from one range to the next."""


@dataclass(frozen=True, slots=True)
class Grid:
    """A kind of grid: how many codes there are, and which weights share a scale."""

    bits: int
    group_size: int = PER_CHANNEL
    """Number of consecutive inputs that share a scale; PER_CHANNEL: all of a row; PER_TENSOR: all rows as well."""
    symmetric: bool = True
    scale_dtype: torch.dtype = torch.float32
    """Type in which the checkpoint stores scales. Codes are computed from the stored scale, so they fit it."""

    @property
    def largest(self) -> int:
        """The largest code."""
        return int(2**self.bits - 1)

    @property
    def middle(self) -> int:
        """The zero point of a symmetric grid."""
        return int(2 ** (self.bits - 1))

    def width(self, inputs: int) -> int:
        """Return the number of consecutive inputs that share a scale."""
        return self.group_size if self.group_size > 0 else inputs


@dataclass(frozen=True, slots=True)
class Parameters:
    """Scales and zero points of groups: both [out, groups] float32."""

    scales: Tensor
    zeros: Tensor

    def of_group(self, index: int) -> Parameters:
        return Parameters(self.scales[:, index : index + 1], self.zeros[:, index : index + 1])


@dataclass(frozen=True, slots=True)
class QuantizedWeight:
    """A quantised weight: w'[n, k] = (codes[n, k] - zeros[n, g]) * scales[n, g], with the group g = k // width."""

    codes: Tensor
    """[out, in]: uint8, or float8_e4m3fn, which has no zero points."""
    scales: Tensor
    """[out, groups] in the type that is stored."""
    zeros: Tensor | None = None
    """[out, groups] uint8"""
    grid: Grid = field(default=Grid(8))

    def dequantize(self) -> Tensor:
        """Return the weight: [out, in] float32."""
        out, inputs = self.codes.shape
        grouped = self.codes.float().view(out, self.scales.shape[1], -1)
        if self.zeros is not None:
            grouped = grouped - self.zeros.float().unsqueeze(2)
        return (grouped * self.scales.float().unsqueeze(2)).view(out, inputs)


def fit(
    weight: Tensor, grid: Grid, *, clip_norm: float | None = None, importance: Tensor | None = None
) -> Parameters:  # fmt: skip
    """Return the parameters that cover each group of `weight` [out, in], or, with a `clip_norm`, round it best.

    The best range has the least sum of |w - w'|^clip_norm, weighed by the inputs' `importance` [in]; None: equally.
    """
    grouped = _grouped(weight, grid)
    if grid.group_size == PER_TENSOR:
        grouped = grouped.reshape(1, 1, -1).expand(len(weight), 1, -1)
    low, high = grouped.amin(dim=2).clamp(max=0), grouped.amax(dim=2).clamp(min=0)
    if grid.symmetric:
        high = torch.maximum(high, -low)
        low = -high
    if clip_norm is None or grid.group_size == PER_TENSOR:
        return _from_range(low, high, grid)
    weights = None if importance is None else importance.view(1, grouped.shape[1], -1)
    rows = len(grouped) if grouped.is_cuda else max(1, PART // weight.shape[1])
    parts = zip(*(torch.split(each, rows) for each in (grouped, low, high)), strict=True)
    found = [_search_clip(*part, grid=grid, norm=clip_norm, importance=weights) for part in parts]
    return Parameters(torch.cat([each.scales for each in found]), torch.cat([each.zeros for each in found]))


def encode(weight: Tensor, parameters: Parameters, grid: Grid) -> Tensor:
    """Return the codes of `weight` [out, in], as floats."""
    scales, zeros = (_spread(each, weight, grid) for each in (parameters.scales, parameters.zeros))
    return (weight / scales).round_().add_(zeros).clamp_(0, grid.largest)


def decode(codes: Tensor, parameters: Parameters, grid: Grid) -> Tensor:
    """Return the weight [out, in] that the codes stand for."""
    scales, zeros = (_spread(each, codes, grid) for each in (parameters.scales, parameters.zeros))
    return (codes - zeros) * scales


def pack(codes: Tensor, parameters: Parameters, grid: Grid) -> QuantizedWeight:
    """Return codes and parameters in the types in which they are stored."""
    return QuantizedWeight(
        codes.to(torch.uint8), parameters.scales.to(grid.scale_dtype), parameters.zeros.to(torch.uint8), grid
    )


def _from_range(low: Tensor, high: Tensor, grid: Grid) -> Parameters:
    """Return the parameters whose codes span [low, high]; a group of zeros gets the scale 1."""
    scales = (high - low) / grid.largest
    smallest = torch.finfo(grid.scale_dtype).tiny
    scales = torch.where(scales > 0, scales.clamp(min=smallest), 1.0).to(grid.scale_dtype).float()
    if grid.symmetric:
        return Parameters(scales, torch.full_like(scales, grid.middle))
    return Parameters(scales, (-low / scales).round().clamp(0, grid.largest))


def _search_clip(
    grouped: Tensor, low: Tensor, high: Tensor, *, grid: Grid, norm: float, importance: Tensor | None
) -> Parameters:  # fmt: skip
    """Return, for each group, the parameters of the shrunk range with the least error |w - w'|^norm."""
    flat = Grid(grid.bits, PER_CHANNEL, grid.symmetric, grid.scale_dtype)
    rows = grouped.reshape(-1, grouped.shape[2])
    best = _from_range(low, high, grid)
    least = torch.full_like(low, torch.inf)
    for step in range(SHRINK_STEPS):
        shrink = 1 - step * SHRINK_STEP
        tried = _from_range(low * shrink, high * shrink, grid)
        columns = Parameters(tried.scales.reshape(-1, 1), tried.zeros.reshape(-1, 1))
        error = encode(rows, columns, flat).sub_(columns.zeros).mul_(columns.scales).sub_(rows)
        error = error.abs_().pow_(norm).view(grouped.shape)
        total = (error if importance is None else error.mul_(importance)).sum(dim=2)
        better = total < least
        least = torch.where(better, total, least)
        best = Parameters(torch.where(better, tried.scales, best.scales), torch.where(better, tried.zeros, best.zeros))
    return best


def _grouped(weight: Tensor, grid: Grid) -> Tensor:
    """Return [out, groups, width] of a weight [out, in]."""
    out, inputs = weight.shape
    return weight.reshape(out, -1, grid.width(inputs))


def _spread(per_group: Tensor, weight: Tensor, grid: Grid) -> Tensor:
    """Return one value per input, [out, in], of one value per group."""
    if per_group.shape[1] == 1:
        return per_group
    return per_group.repeat_interleave(grid.width(weight.shape[1]), dim=1)
