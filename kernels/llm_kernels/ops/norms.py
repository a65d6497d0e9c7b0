"""Root-mean-square norm, alone and fused with the residual addition before it, and layer norm.

RMSNorm: Zhang & Sennrich, 2019. LayerNorm: Ba et al., 2016. Statistics and the scaling are in float32.
"""

from __future__ import annotations

import torch
from torch import Tensor

from llm_kernels import dispatch
from llm_kernels.numerics import wide
from llm_kernels.ops import checks

MAX_HIDDEN = 65_536
"""A row lives in one program's registers; wider ones go to the reference."""


@torch.library.custom_op("llm_kernels::rms_norm", mutates_args=())
def rms_norm(x: Tensor, weight: Tensor, eps: float = 1e-6) -> Tensor:
    """Return x / sqrt(mean(x^2) + eps) * weight over the last dimension.

    x [..., hidden] float32/16/bf16, rows may be strided; weight [hidden], any float type. Returns x's shape and dtype.
    """
    return _RMS_NORM(x, weight, eps)  # type: ignore[no-any-return]


@torch.library.custom_op("llm_kernels::fused_add_rms_norm", mutates_args=())
def fused_add_rms_norm(x: Tensor, residual: Tensor, weight: Tensor, eps: float = 1e-6) -> tuple[Tensor, Tensor]:
    """Return (rms_norm(x + residual), x + residual), the step between two blocks of a decoder, in one pass.

    x, residual [..., hidden] of one dtype; the sum is rounded to it, and the norm is of the unrounded sum.
    """
    return _FUSED(x, residual, weight, eps)  # type: ignore[no-any-return]


@torch.library.custom_op("llm_kernels::layer_norm", mutates_args=())
def layer_norm(x: Tensor, weight: Tensor, bias: Tensor | None = None, eps: float = 1e-5) -> Tensor:
    """Return (x - mean) / sqrt(var + eps) * weight + bias over the last dimension; x [..., hidden]."""
    return _LAYER_NORM(x, weight, bias, eps)  # type: ignore[no-any-return]


@rms_norm.register_fake
def _(x: Tensor, weight: Tensor, eps: float = 1e-6) -> Tensor:
    return x.new_empty(x.shape)


@fused_add_rms_norm.register_fake
def _(x: Tensor, residual: Tensor, weight: Tensor, eps: float = 1e-6) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape), x.new_empty(x.shape)


@layer_norm.register_fake
def _(x: Tensor, weight: Tensor, bias: Tensor | None = None, eps: float = 1e-5) -> Tensor:
    return x.new_empty(x.shape)


def _rms_norm_reference(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    xf = wide(x)
    return (xf * torch.rsqrt(xf.square().mean(-1, keepdim=True) + eps) * wide(weight)).to(x.dtype).contiguous()


def _fused_reference(x: Tensor, residual: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    total = wide(x) + wide(residual)
    return _rms_norm_reference(total, weight, eps).to(x.dtype), total.to(x.dtype).contiguous()


def _layer_norm_reference(x: Tensor, weight: Tensor, bias: Tensor | None, eps: float) -> Tensor:
    xf = wide(x)
    centred = xf - xf.mean(-1, keepdim=True)
    out = centred * torch.rsqrt(centred.square().mean(-1, keepdim=True) + eps) * wide(weight)
    return (out if bias is None else out + wide(bias)).to(x.dtype).contiguous()


def _check(op: str, x: Tensor, *vectors: Tensor | None) -> None:
    checks.dtype_in(op, "x", x, checks.FLOATS)
    checks.require(x.dim() >= 1 and x.shape[-1] > 0, op, f"x has shape {list(x.shape)}; it takes [..., hidden]")
    checks.same_device(op, x, *vectors)
    for vector in vectors:
        if vector is not None:
            checks.dtype_in(op, "weight or bias", vector, checks.FLOATS)
            checks.shape_is(op, "weight or bias", vector, (x.shape[-1],), f"[{x.shape[-1]}] (hidden)")


def _check_fused(x: Tensor, residual: Tensor, weight: Tensor, eps: float) -> None:
    op = "fused_add_rms_norm"
    _check(op, x, weight)
    checks.dtype_in(op, "residual", residual, (x.dtype,))
    checks.shape_is(op, "residual", residual, tuple(x.shape), f"{list(x.shape)} (x's)")


def _too_wide(x: Tensor, *rest: object) -> str | None:
    return f"hidden {x.shape[-1]} > {MAX_HIDDEN}" if x.shape[-1] > MAX_HIDDEN else None


def _rms_norm_triton(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    from llm_kernels.triton_kernels import norms

    return norms.rms_norm(x, weight, eps)


def _fused_triton(x: Tensor, residual: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    from llm_kernels.triton_kernels import norms

    return norms.fused_add_rms_norm(x, residual, weight, eps)


def _layer_norm_triton(x: Tensor, weight: Tensor, bias: Tensor | None, eps: float) -> Tensor:
    from llm_kernels.triton_kernels import norms

    return norms.layer_norm(x, weight, bias, eps)


_RMS_NORM = dispatch.define(
    "rms_norm",
    check=lambda x, weight, eps: _check("rms_norm", x, weight),
    reference=_rms_norm_reference,
    triton=_rms_norm_triton,
    triton_refuses=_too_wide,
)
_FUSED = dispatch.define(
    "fused_add_rms_norm",
    check=_check_fused,
    reference=_fused_reference,
    triton=_fused_triton,
    triton_refuses=_too_wide,
)
_LAYER_NORM = dispatch.define(
    "layer_norm",
    check=lambda x, weight, bias, eps: _check("layer_norm", x, weight, bias),
    reference=_layer_norm_reference,
    triton=_layer_norm_triton,
    triton_refuses=_too_wide,
)
