"""One-shot collectives between the GPUs of one machine: small sums and gathers at the latency of the link.

    ranks = OneShot(rank, count, device, exchange)     every rank at the same time
    total = ranks.sum(x)
    normed, total = ranks.add_rms_norm(x, residual, weight, eps)
    all_columns = ranks.gather(x)

A call must be made by all ranks with the same shape. It can be captured in a CUDA graph. The kernels and their protocol
are in `cuda/one_shot.cu`. NCCL is for larger tensors, where bandwidth counts.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from llm_kernels.cuda import build, launch
from llm_kernels.errors import KernelError

TURNS = 3
VECTOR_BYTES = 16
HANDLE_BYTES = 64
MAX_RANKS = 8
MAX_ROW_BYTES = 4 * 1024 * VECTOR_BYTES
DTYPES = {torch.float32: 0, torch.float16: 1, torch.bfloat16: 2}
MAX_BYTES = 16 * 2**20
"""Most bytes that a rank sends in a call, all copies counted."""
MAX_SUM_BYTES = 4 * 2**20
"""The same for sums. Beyond it NCCL, which splits the work between the ranks, gains."""


def why_not(devices: Sequence[torch.device], own: torch.device) -> str | None:
    """Return why ranks on these devices of this machine cannot use one-shot collectives; None if they can.

    `own` is the caller's device. All ranks must get the same answer.
    """
    if own.type != "cuda":
        return "they need GPUs"
    if len(devices) > MAX_RANKS:
        return f"they are for {MAX_RANKS} GPUs at most"
    if any(torch.cuda.get_device_capability(device) != (9, 0) for device in devices):
        return "they are built for compute capability 9.0"
    if not all(torch.cuda.can_device_access_peer(own, other) for other in devices if other != own):
        return "they need GPUs that can access each other's memory"
    return build.why_no_compiler()


class OneShot:
    """One rank's buffers, and its view of those of the others."""

    def __init__(self, rank: int, count: int, device: torch.device, exchange: Callable[[bytes], list[bytes]]) -> None:
        """Allocate and map the buffers. All `count` ranks must do so at the same time.

        `exchange` gathers one value of each rank, in the order of the ranks.
        """
        self._library = build.load(build.SOURCES / "one_shot.cu")
        self._rank, self._count = rank, count
        self._capacity = MAX_BYTES // (count - 1) // VECTOR_BYTES
        own, self._state = ctypes.c_void_p(), ctypes.c_void_p()
        handle = ctypes.create_string_buffer(HANDLE_BYTES)
        size = ctypes.c_int64(TURNS * count * self._capacity * VECTOR_BYTES)
        self._call("one_shot_allocate", device.index, size, ctypes.byref(own), ctypes.byref(self._state), handle)
        self._buffers = (ctypes.c_void_p * count)()
        for each, theirs in enumerate(exchange(handle.raw)):
            self._buffers[each] = own.value if each == rank else self._open(theirs)

    def why_not_sum(self, x: Tensor) -> str | None:
        """Return why `x` [..., hidden] cannot be summed here, or None if it can. It depends on shape and type only."""
        row_bytes = x.shape[-1] * x.element_size()
        if x.dtype not in DTYPES:
            return f"is built for {', '.join(str(each).removeprefix('torch.') for each in DTYPES)}"
        if row_bytes > MAX_ROW_BYTES:
            return f"needs rows of {MAX_ROW_BYTES} bytes at most"
        return self._why_not(x, MAX_SUM_BYTES)

    def why_not_gather(self, x: Tensor) -> str | None:
        """Return why `x` cannot be gathered here, or None if it can. It depends on shape and type only."""
        return self._why_not(x, MAX_BYTES)

    def sum(self, x: Tensor) -> Tensor:
        """Return the sum of `x` [..., hidden] over the ranks: rounded once, and equal on all ranks."""
        out = torch.empty_like(x)
        self._reduce(x, None, None, out, None, 0.0)
        return out

    def add_rms_norm(self, x: Tensor, residual: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
        """Return (rms_norm(total), total), where total is `residual` plus the sum of `x` over the ranks.

        x, residual [..., hidden] of one type, weight [hidden] of the same. The norm is of the unrounded total.
        """
        out, total = torch.empty_like(x), torch.empty_like(x)
        self._reduce(x, residual, weight, out, total, eps)
        return out, total

    def gather(self, x: Tensor) -> Tensor:
        """Concatenate the ranks' last dimensions: [..., n] -> [..., ranks * n].

        A 32-bit word of x that is -0.0 as a float, and -2^31 as an integer, arrives as 0.
        """
        out = x.new_empty((*x.shape[:-1], self._count * x.shape[-1]))
        launch.launch(self._library, "one_shot_gather", x, out, *self._ranks(x))
        return out

    def close(self) -> None:
        """Unmap and free the buffers. No rank may use them any more."""
        for each, buffer in enumerate(self._buffers):
            if each != self._rank:
                self._call("one_shot_close", ctypes.c_void_p(buffer))
        self._call("one_shot_free", ctypes.c_void_p(self._buffers[self._rank]), self._state)

    def _why_not(self, x: Tensor, limit: int) -> str | None:
        if not x.is_contiguous():
            return "needs contiguous tensors"
        if x.shape[-1] * x.element_size() % VECTOR_BYTES:
            return f"needs rows of a multiple of {VECTOR_BYTES} bytes"
        if not 0 < x.numel() * x.element_size() <= limit // (self._count - 1):
            return f"is for 1 to {limit // (self._count - 1)} bytes"
        return None

    def _reduce(
        self, x: Tensor, residual: Tensor | None, weight: Tensor | None, out: Tensor, total: Tensor | None, eps: float
    ) -> None:
        rest = (*self._ranks(x), ctypes.c_float(eps), DTYPES[x.dtype])
        launch.launch(self._library, "one_shot_reduce", x, residual, weight, out, total, *rest)

    def _ranks(self, x: Tensor) -> tuple[Any, ...]:
        """Return the launchers' arguments about the ranks and the size of `x`."""
        buffers = ctypes.c_void_p(ctypes.addressof(self._buffers))
        width = x.shape[-1] * x.element_size() // VECTOR_BYTES
        return buffers, self._state, self._rank, self._count, x.numel() // x.shape[-1], width, self._capacity

    def _open(self, handle: bytes) -> int:
        pointer = ctypes.c_void_p()
        self._call("one_shot_open", ctypes.create_string_buffer(handle, HANDLE_BYTES), ctypes.byref(pointer))
        assert pointer.value is not None
        return pointer.value

    def _call(self, function: str, *arguments: Any) -> None:
        if error := getattr(self._library, function)(*arguments):
            raise KernelError(f"{function} failed with cudaError {error}")
