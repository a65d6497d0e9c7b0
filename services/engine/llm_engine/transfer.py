"""Between host and device without waiting: from and to pinned memory, in the order of the device's other work."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Array = npt.NDArray[Any]
ALIGNMENT = 16


def to_device(arrays: Sequence[Array], device: torch.device) -> list[Tensor]:
    """The arrays, all of one type, in one transfer. On a CPU they are not copied: the tensors are views."""
    if device.type == "cpu":
        return [torch.from_numpy(array) for array in arrays]
    flat, starts = aligned(arrays)
    # Pinned anew each time: torch keeps the memory until the device has read it, and then uses it again.
    there = torch.from_numpy(flat).pin_memory().to(device, non_blocking=True)
    return [there[start:][: array.size].view(array.shape) for start, array in zip(starts, arrays, strict=False)]


def aligned(arrays: Sequence[Array]) -> tuple[Array, list[int]]:
    """The arrays in one, and where each begins: at multiples of 16 bytes. For other places Triton compiles its kernels
    once more, and that in the middle of serving."""
    unit = ALIGNMENT // arrays[0].itemsize
    starts = list(accumulate((-(-array.size // unit) * unit for array in arrays), initial=0))
    flat = np.zeros(starts[-1], arrays[0].dtype)
    for start, array in zip(starts, arrays, strict=False):
        flat[start : start + array.size] = array.ravel()
    return flat, starts


class HostCopy:
    """Tensors on their way to the host: the copies are begun when it is made, and waited for when they are wanted."""

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
        if self._done is not None:
            self._done.synchronize()
        return self._tensors
