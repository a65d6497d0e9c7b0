"""Helpers of the row-wise launchers."""

from __future__ import annotations

import functools

import torch
from torch import Tensor


def as_rows(x: Tensor) -> Tensor:
    """Return [..., n] as [rows, n] with dense rows; copy only if the strides require it."""
    rows = x.reshape(-1, x.shape[-1])
    return rows if rows.stride(-1) == 1 or rows.shape[-1] == 1 else rows.contiguous()


def row_warps(block: int) -> int:
    """Return the warps for a row of `block` elements: 16 to 32 elements per thread keep several loads in flight."""
    return min(32, max(1, block // 512))


def releases_next(x: Tensor) -> bool:
    """Return whether a kernel lets the next one start early (`gdc_launch_dependents`), which Hopper is the first to do.

    The next kernel must ask for it and wait before it reads results: cuda/w4a16_gemv.cu does, all others start at the
    end. So small kernels release it at once, and the loads of weights overlap them.
    """
    return x.device.type == "meta" or (x.is_cuda and _capability(x.device) >= (9, 0))


@functools.cache
def _capability(device: torch.device) -> tuple[int, int]:
    return torch.cuda.get_device_capability(device)
