"""Calls of the CUDA launchers: pointers, sizes and the current stream through ctypes."""

from __future__ import annotations

import ctypes
from typing import Any

import torch
from torch import Tensor

from llm_kernels.cuda import build
from llm_kernels.errors import KernelError

GEMV_ROWS = 4
"""Most rows for `w4a16_gemv.cu`, which launches faster; from 8 rows on `w4a16.cu` is faster."""


def gemm(x: Tensor, weight: Tensor) -> Tensor:
    (m, k), n = x.shape, weight.shape[0]
    out = torch.empty((m, n), dtype=x.dtype, device=x.device)
    call("gemm.cu", "gemm", x, weight, out, m, n, k)
    return out


def flash_attention(query: Tensor, key: Tensor, value: Tensor, causal: bool, scale: float | None) -> Tensor:
    batch, queries, heads, head_dim = query.shape
    out = torch.empty_like(query)
    if out.numel():
        factor = ctypes.c_float(head_dim**-0.5 if scale is None else scale)
        group = heads // key.shape[2]
        call(
            "flash_attention.cu", "flash_attention", query, key, value, out, batch, queries, key.shape[1], heads, group,
            factor, int(causal),
        )  # fmt: skip
    return out


def scaled_gemm(x: Tensor, weight: Tensor, x_scale: Tensor, weight_scale: Tensor) -> Tensor:
    (m, k), n = x.shape, weight.shape[0]
    out = torch.empty((m, n), dtype=torch.bfloat16, device=x.device)
    call("gemm.cu", "scaled_gemm", x, weight, x_scale, weight_scale, out, m, n, k, int(x.dtype == torch.int8))
    return out


def w4a16_gemm(x: Tensor, qweight: Tensor, scales: Tensor, zeros: Tensor | None, splits: int = 0) -> Tensor:
    """Launch the kernel. `splits`: number of blocks that share an output tile's inputs; 0: the source's own choice."""
    (m, k), (groups, n) = x.shape, scales.shape
    out = torch.empty((m, n), dtype=x.dtype, device=x.device)
    is_bf16 = int(x.dtype == torch.bfloat16)
    if 0 < m <= GEMV_ROWS:
        call("w4a16_gemv.cu", "w4a16_gemv", x, qweight, scales, zeros, out, m, n, k, k // groups, is_bf16)
    elif m:
        library = build.load(build.SOURCES / "w4a16.cu")
        splits = splits or library.w4a16_splits(m, n, k)
        parts = done = None
        if splits > 1:
            parts = torch.empty((splits, m, n), dtype=torch.float32, device=x.device)
            done = counters(x.device, library.w4a16_tiles(m, n))
        launch(
            library, "w4a16", x, qweight, scales, zeros, out, parts, done, m, n, k, k // groups, is_bf16, splits,
        )  # fmt: skip
    return out


def counters(device: torch.device, count: int) -> Tensor:
    """Return counters that are zero between launches.

    Each stream has its own, because two streams would count each other's blocks. A CUDA graph has its own as well,
    which each replay sets to zero.
    """
    if torch.cuda.is_current_stream_capturing():
        return torch.zeros(count, dtype=torch.int32, device=device)
    key = (device, torch.cuda.current_stream(device).cuda_stream)
    known = _COUNTERS.get(key)
    if known is None or known.numel() < count:
        known = _COUNTERS[key] = torch.zeros(max(count, 1024), dtype=torch.int32, device=device)
    return known


_COUNTERS: dict[tuple[torch.device, int], Tensor] = {}


def call(source: str, function: str, *args: Any) -> None:
    """Launch on the current stream of the first tensor's device. Raises KernelError with CUDA's error."""
    launch(build.load(build.SOURCES / source), function, *args)


def launch(library: ctypes.CDLL, function: str, *args: Any) -> None:
    """Call a launcher: tensors become pointers, None a null pointer, ints C ints; the stream comes last."""
    device = next(a.device for a in args if isinstance(a, Tensor))
    stream = torch.cuda.current_stream(device).cuda_stream
    converted = [_convert(a) for a in args]
    with torch.cuda.device(device):
        error = getattr(library, function)(*converted, ctypes.c_void_p(stream))
    if error:
        raise KernelError(f"{function}: the launch failed with cudaError {error} ({_name(error)})")


def _convert(argument: Any) -> Any:
    if argument is None:
        return ctypes.c_void_p(None)
    if isinstance(argument, Tensor):
        return ctypes.c_void_p(argument.data_ptr())
    return argument if isinstance(argument, ctypes._SimpleCData) else ctypes.c_int(argument)


def _name(error: int) -> str:
    """Return the meaning of a cudaError_t."""
    known = {1: "invalid value", 2: "out of memory", 98: "invalid device function", 209: "no kernel image for this GPU"}
    return known.get(error, "see cudaError_t in the CUDA runtime's documentation")
