"""Memory for weights, in huge pages where the system has them.

A step reads every weight once, in order. With pages of 4 KiB the processor looks up an address for every 64 lines of the
cache, and its prefetching stops at each page's end; with pages of 2 MiB it reads about a tenth faster. Most weights are
smaller than such a page, so they share chunks.
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
_lock = threading.Lock()
_free = torch.empty(0, dtype=torch.uint8)
"""The rest of the current chunk. Only what is written to takes memory; a chunk lives as long as any of its tensors."""


def empty(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """Return an uninitialised tensor that begins with a line of the cache."""
    global _free
    size = math.prod(shape) * dtype.itemsize
    taken = -(-size // LINE) * LINE
    with _lock:
        if taken > len(_free):
            _free = _chunk(max(taken, CHUNK))
        memory, _free = _free[:size], _free[taken:]
    return memory.view(dtype).view(*shape)


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
