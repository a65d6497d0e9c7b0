"""Helpers of the row-wise launchers."""

from __future__ import annotations

from torch import Tensor


def as_rows(x: Tensor) -> Tensor:
    """[..., n] as [rows, n] with dense rows; a copy only where strides leave no other way."""
    rows = x.reshape(-1, x.shape[-1])
    return rows if rows.stride(-1) == 1 or rows.shape[-1] == 1 else rows.contiguous()


def row_warps(block: int) -> int:
    """Warps for a row of `block` elements: 16 to 32 elements a thread keep several 16-byte loads in flight."""
    return min(32, max(1, block // 512))
