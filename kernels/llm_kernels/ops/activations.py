"""The gated activation of an MLP (Shazeer, "GLU Variants", 2020): act(gate) * up, where x = [gate | up]."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from llm_kernels import dispatch
from llm_kernels.numerics import wide
from llm_kernels.ops import checks


@torch.library.custom_op("llm_kernels::silu_and_mul", mutates_args=())
def silu_and_mul(x: Tensor) -> Tensor:
    """Return silu(gate) * up, in float32, rounded once: [..., 2 * intermediate] -> [..., intermediate]."""
    return _SILU(x)  # type: ignore[no-any-return]


@torch.library.custom_op("llm_kernels::gelu_and_mul", mutates_args=())
def gelu_and_mul(x: Tensor, approximate: str = "tanh") -> Tensor:
    """Return gelu(gate) * up: [..., 2 * intermediate] -> [..., intermediate]; `approximate`: "tanh" or "none" (erf)."""
    return _GELU(x, approximate)  # type: ignore[no-any-return]


@silu_and_mul.register_fake
def _(x: Tensor) -> Tensor:
    return x.new_empty(*x.shape[:-1], x.shape[-1] // 2)


@gelu_and_mul.register_fake
def _(x: Tensor, approximate: str = "tanh") -> Tensor:
    return x.new_empty(*x.shape[:-1], x.shape[-1] // 2)


def _silu_reference(x: Tensor) -> Tensor:
    gate, up = wide(x).chunk(2, dim=-1)
    return (F.silu(gate) * up).to(x.dtype)


def _gelu_reference(x: Tensor, approximate: str) -> Tensor:
    gate, up = wide(x).chunk(2, dim=-1)
    return (F.gelu(gate, approximate=approximate) * up).to(x.dtype)


def _check(op: str, x: Tensor) -> None:
    checks.dtype_in(op, "x", x, checks.FLOATS)
    even = x.dim() >= 1 and x.shape[-1] > 0 and x.shape[-1] % 2 == 0
    checks.require(even, op, f"x has shape {list(x.shape)}; it takes [..., 2 * intermediate]")


def _check_gelu(x: Tensor, approximate: str) -> None:
    _check("gelu_and_mul", x)
    checks.require(approximate in ("tanh", "none"), "gelu_and_mul", f"approximate={approximate!r}; it takes tanh, none")


def _silu_triton(x: Tensor) -> Tensor:
    from llm_kernels.triton_kernels import activations

    return activations.gated(x, "silu")


def _gelu_triton(x: Tensor, approximate: str) -> Tensor:
    from llm_kernels.triton_kernels import activations

    return activations.gated(x, "gelu_tanh" if approximate == "tanh" else "gelu")


_SILU = dispatch.define(
    "silu_and_mul", check=lambda x: _check("silu_and_mul", x), reference=_silu_reference, triton=_silu_triton
)
_GELU = dispatch.define("gelu_and_mul", check=_check_gelu, reference=_gelu_reference, triton=_gelu_triton)
