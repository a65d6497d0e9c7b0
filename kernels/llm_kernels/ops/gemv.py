"""A matrix times one row of activations: the linear layers of a single sequence's decode."""

from __future__ import annotations

import torch
from torch import Tensor

from llm_kernels import dispatch
from llm_kernels.numerics import wide
from llm_kernels.ops import checks


@torch.library.custom_op("llm_kernels::gemv", mutates_args=())
def gemv(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return x [1, k] times weight [n, k] transposed, plus bias [n] -> [1, n]; one float dtype, summed in float32.

    The weight's bytes set the time, and each is read once. On Hopper the first ones are read before the kernel that was
    launched just before has ended, so that kernel must not write the weight.
    """
    return _GEMV(x, weight, bias)  # type: ignore[no-any-return]


@gemv.register_fake
def _(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return x.new_empty(1, weight.shape[0])


def _reference(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    out = wide(x) @ wide(weight).T
    return (out if bias is None else out + wide(bias)).to(x.dtype)


def _check(x: Tensor, weight: Tensor, bias: Tensor | None) -> None:
    op = "gemv"
    checks.dtype_in(op, "x", x, checks.FLOATS)
    fits = x.dim() == 2 and x.shape[0] == 1 and x.shape[1] > 0
    checks.require(fits, op, f"x has shape {list(x.shape)}; it takes [1, k], k > 0")
    checks.shape_is(op, "weight", weight, (None, x.shape[1]), f"[n, {x.shape[1]}]")
    checks.dtype_in(op, "weight", weight, (x.dtype,))
    if bias is not None:
        checks.dtype_in(op, "bias", bias, (x.dtype,))
        checks.shape_is(op, "bias", bias, (weight.shape[0],), f"[{weight.shape[0]}] (n)")
    checks.same_device(op, x, weight, bias)


def _triton(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    from llm_kernels.triton_kernels import gemv as kernels

    return kernels.gemv(x, weight, bias)


def _refuses(x: Tensor, weight: Tensor, bias: Tensor | None) -> str | None:
    return None if weight.is_contiguous() and x.is_contiguous() else "needs contiguous x and weight"


_GEMV = dispatch.define("gemv", check=_check, reference=_reference, triton=_triton, triton_refuses=_refuses)
