"""Between host and device without waiting: from and to pinned memory, in the order of the device's other work."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Array = npt.NDArray[Any]


def to_device(arrays: Sequence[Array], device: torch.device) -> list[Tensor]:
    """The arrays, all of one type, in one transfer. On a CPU they are not copied: the tensors are views."""
    if device.type == "cpu":
        return [torch.from_numpy(array) for array in arrays]
    flat = [aligned(array) for array in arrays]
    # Pinned anew each time: torch keeps the memory until the device has read it, and then uses it again.
    there = torch.from_numpy(np.concatenate(flat)).pin_memory().to(device, non_blocking=True)
    parts = torch.split(there, [len(each) for each in flat])
    return [part[: array.size].view(array.shape) for part, array in zip(parts, arrays, strict=True)]


def aligned(array: Array) -> Array:
    """Flat, and with zeros at its end, so that what is behind it begins at a multiple of 16 bytes: for other places
    Triton compiles its kernels once more, and that in the middle of serving."""
    return np.append(array, np.zeros(-array.size % (16 // array.itemsize), array.dtype))


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
