"""Softmax over the last dimension, with the maximum subtracted first; a row of only -inf gives NaN, as in torch."""

from __future__ import annotations

import torch
from torch import Tensor

from llm_kernels import dispatch
from llm_kernels.numerics import wide
from llm_kernels.ops import checks


@torch.library.custom_op("llm_kernels::softmax", mutates_args=())
def softmax(x: Tensor) -> Tensor:
    """Return softmax(x) for x [..., n] float32/16/bf16 in its shape and dtype; exponentials and sums are in float32."""
    return _SOFTMAX(x)  # type: ignore[no-any-return]


@softmax.register_fake
def _(x: Tensor) -> Tensor:
    return x.new_empty(x.shape)


def _reference(x: Tensor) -> Tensor:
    return torch.softmax(wide(x), dim=-1).to(x.dtype).contiguous()


def _check(x: Tensor) -> None:
    checks.dtype_in("softmax", "x", x, checks.FLOATS)
    fits = x.dim() >= 1 and x.shape[-1] > 0
    checks.require(fits, "softmax", f"x has shape {list(x.shape)}; it takes [..., n] with n > 0")


def _triton(x: Tensor) -> Tensor:
    from llm_kernels.triton_kernels import softmax as kernels

    return kernels.softmax(x)


_SOFTMAX = dispatch.define("softmax", check=_check, reference=_reference, triton=_triton)
