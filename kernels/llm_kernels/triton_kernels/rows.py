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


def overlaps_launch(x: Tensor) -> bool:
    """Return whether a kernel starts before the one before it ends: programmatic dependent launch, new with Hopper.

    Such a kernel tells the next one at once that it can start (`gdc_launch_dependents`), loads what no kernel writes,
    and waits for the end of the one before (`gdc_wait`) before it reads or writes anything else. Every program has to
    wait, because the next kernel takes its end for the end of all kernels before it.
    """
    return x.device.type == "meta" or (x.is_cuda and _capability(x.device) >= (9, 0))


@functools.cache
def _capability(device: torch.device) -> tuple[int, int]:
    return torch.cuda.get_device_capability(device)
