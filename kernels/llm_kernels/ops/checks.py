"""Checks of ops' arguments: each raises UnsupportedInput and names what is allowed."""

from __future__ import annotations

import torch
from torch import Tensor

from llm_kernels.errors import UnsupportedInput

FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
"""Types for element-wise and row-wise ops. float64 runs on the reference only: errors are measured against it."""


def require(condition: bool, op: str, message: str) -> None:
    if not condition:
        raise UnsupportedInput(f"{op}: {message}")


def dtype_in(op: str, name: str, tensor: Tensor, allowed: tuple[torch.dtype, ...]) -> None:
    if tensor.dtype not in allowed:
        raise UnsupportedInput(f"{op}: {name} is {_short(tensor.dtype)}; it takes {', '.join(map(_short, allowed))}")


def shape_is(op: str, name: str, tensor: Tensor, shape: tuple[int | None, ...], words: str) -> None:
    """Check a shape, in which None stands for any size; `words` spells it for the message."""
    fits = tensor.dim() == len(shape) and all(
        want is None or have == want for have, want in zip(tensor.shape, shape, strict=True)
    )
    if not fits:
        raise UnsupportedInput(f"{op}: {name} has shape {list(tensor.shape)}; it takes {words}")


def last_dim_dense(op: str, name: str, tensor: Tensor) -> None:
    if tensor.dim() and tensor.shape[-1] > 1 and tensor.stride(-1) != 1:
        raise UnsupportedInput(f"{op}: the last dimension of {name} is strided; it takes a dense one (.contiguous())")


def contiguous(op: str, name: str, tensor: Tensor) -> None:
    if not tensor.is_contiguous():
        raise UnsupportedInput(f"{op}: {name} is not contiguous; it takes a contiguous tensor (.contiguous())")


def same_device(op: str, *tensors: Tensor | None) -> None:
    devices = {str(tensor.device) for tensor in tensors if tensor is not None}
    if len(devices) > 1:
        raise UnsupportedInput(f"{op}: its tensors are on {', '.join(sorted(devices))}; it takes one device")


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
