"""Memory for weights, in huge pages where the system has them.

A step reads every weight once, in order. With pages of 4 KiB the processor translates an address for every 64 cache
lines, and its prefetching stops at the end of each page; it reads faster from pages of 2 MiB. Most weights are smaller
than such a page, so they share chunks.
"""

from __future__ import annotations

import ctypes
import math
import sys
import threading
from collections.abc import Sequence

import torch
from torch import Tensor

PAGE, CHUNK, LINE = 2 << 20, 32 << 20, 64
MADV_HUGEPAGE = 14


class _Arena:
    """Chunks of memory that are handed out piece by piece. A chunk lives as long as any tensor in it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._free = torch.empty(0, dtype=torch.uint8)
        """The rest of the current chunk. It takes no memory before it is written to."""

    def take(self, size: int) -> Tensor:
        taken = -(-size // LINE) * LINE
        with self._lock:
            if taken > len(self._free):
                self._free = _chunk(max(taken, CHUNK))
            memory, self._free = self._free[:size], self._free[taken:]
        return memory


_arena = _Arena()


def empty(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """Return an uninitialised tensor that begins at a cache line."""
    return _arena.take(math.prod(shape) * dtype.itemsize).view(dtype).view(*shape)


def placed(tensor: Tensor) -> Tensor:
    """Return a copy of the tensor in such memory."""
    return empty(tensor.shape, tensor.dtype).copy_(tensor)


def _chunk(size: int) -> Tensor:
    whole = torch.empty(size + PAGE, dtype=torch.uint8)
    start = -whole.data_ptr() % PAGE
    chunk = whole[start : start + size]
    if sys.platform == "linux":  # a wish: without huge pages the memory is as good as any
        ctypes.CDLL(None).madvise(ctypes.c_void_p(chunk.data_ptr()), ctypes.c_size_t(size), MADV_HUGEPAGE)
    return chunk
