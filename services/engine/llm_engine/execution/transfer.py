"""Asynchronous copies between host and device, through pinned memory, in order with the device's other work."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Array = npt.NDArray[Any]


def to_device(arrays: Sequence[Array], device: torch.device) -> list[Tensor]:
    """Copy arrays of one type to the device in one transfer. On a CPU return views of them."""
    if device.type == "cpu":
        return [torch.from_numpy(array) for array in arrays]
    flat = [aligned(array) for array in arrays]
    # Pin new memory each time: torch keeps it until the device has read it, and then reuses it.
    there = torch.from_numpy(np.concatenate(flat)).pin_memory().to(device, non_blocking=True)
    parts = torch.split(there, [len(each) for each in flat])
    return [part[: array.size].view(array.shape) for part, array in zip(parts, arrays, strict=True)]


def aligned(array: Array) -> Array:
    """Flatten the array and pad it with zeros to a multiple of 16 bytes, so that the next array is aligned.

    For unaligned pointers Triton would compile its kernels again, in the middle of serving.
    """
    return np.append(array, np.zeros(-array.size % (16 // array.itemsize), array.dtype))


class HostCopy:
    """Copies of tensors to the host. The constructor starts them, `wait` waits for them."""

    def __init__(self, *tensors: Tensor) -> None:
        self._tensors = tensors
        self._done: torch.cuda.Event | None = None
        if tensors[0].is_cuda:
            self._tensors = tuple(torch.empty_like(t, device="cpu", pin_memory=True) for t in tensors)
            for target, source in zip(self._tensors, tensors, strict=True):
                target.copy_(source, non_blocking=True)
            self._done = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._done.record()

    def wait(self) -> tuple[Tensor, ...]:
        """Wait for the copies and return them."""
        if self._done is not None:
            self._done.synchronize()
        return self._tensors
