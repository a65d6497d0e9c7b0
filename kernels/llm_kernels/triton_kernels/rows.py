"""Helpers of the row-wise launchers."""

from __future__ import annotations

from torch import Tensor


def as_rows(x: Tensor) -> Tensor:
    """Return [..., n] as [rows, n] with dense rows; copy only if the strides require it."""
    rows = x.reshape(-1, x.shape[-1])
    return rows if rows.stride(-1) == 1 or rows.shape[-1] == 1 else rows.contiguous()


def row_warps(block: int) -> int:
    """Return the warps for a row of `block` elements: 16 to 32 elements per thread keep several loads in flight."""
    return min(32, max(1, block // 512))
