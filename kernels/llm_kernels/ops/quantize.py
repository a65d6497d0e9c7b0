"""Dynamic per-token quantization of activations: each row gets the scale that its largest magnitude asks for."""

from __future__ import annotations

import torch
from torch import Tensor

from llm_kernels import dispatch
from llm_kernels.numerics import wide
from llm_kernels.ops import checks

LARGEST = {torch.int8: 127.0, torch.float8_e4m3fn: 448.0}
"""The largest magnitude each type holds (for int8 the symmetric one)."""


@torch.library.custom_op("llm_kernels::quantize_per_token", mutates_args=())
def quantize_per_token(x: Tensor, dtype: torch.dtype = torch.int8) -> tuple[Tensor, Tensor]:
    """Return (q, scale): q [rows, k] of `dtype`, scale [rows] float32 = max|row| / largest, so that x is about q *
    scale.

    x [rows, k]; int8 rounds half to even, as compressed-tensors does; a row of zeros gets scale 1.
    """
    return _QUANTIZE(x, dtype)  # type: ignore[no-any-return]


@quantize_per_token.register_fake
def _(x: Tensor, dtype: torch.dtype = torch.int8) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape, dtype=dtype), x.new_empty(x.shape[0], dtype=torch.float32)


def _reference(x: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    xf, largest = wide(x), LARGEST[dtype]
    top = xf.abs().amax(dim=-1, keepdim=True)
    scale = torch.where(top > 0, top / largest, 1.0)
    scaled = (xf / scale).clamp(-largest, largest)
    q = scaled.round().to(torch.int8) if dtype == torch.int8 else scaled.float().to(dtype)
    return q, scale.squeeze(-1).float()


def _check(x: Tensor, dtype: torch.dtype) -> None:
    op = "quantize_per_token"
    checks.dtype_in(op, "x", x, checks.FLOATS)
    checks.require(x.dim() == 2 and x.shape[1] > 0, op, f"x has shape {list(x.shape)}; it takes [rows, k]")
    checks.last_dim_dense(op, "x", x)
    checks.require(dtype in LARGEST, op, f"dtype {dtype}; it takes torch.int8 or torch.float8_e4m3fn")


def _triton(x: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    from llm_kernels.triton_kernels import quantize as kernels

    return kernels.quantize_per_token(x, dtype, LARGEST[dtype])


def _refuses(x: Tensor, dtype: torch.dtype) -> str | None:
    return f"k {x.shape[1]} > 65536" if x.shape[1] > 65_536 else None


_QUANTIZE = dispatch.define(
    "quantize_per_token", check=_check, reference=_reference, triton=_triton, triton_refuses=_refuses
)
