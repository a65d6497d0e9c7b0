"""Matrix products in the layout of inference: activations [rows, k] times a weight [n, k] that lies k-major."""

from __future__ import annotations

import torch
from torch import Tensor

from llm_kernels import dispatch
from llm_kernels.dispatch import Implementation
from llm_kernels.numerics import accumulator, wide
from llm_kernels.ops import checks


@torch.library.custom_op("llm_kernels::gemm", mutates_args=())
def gemm(x: Tensor, weight: Tensor) -> Tensor:
    """Return x [m, k] times weight [n, k] transposed -> [m, n]; one float dtype, summed in float32, rounded once."""
    return _GEMM(x, weight)  # type: ignore[no-any-return]


@torch.library.custom_op("llm_kernels::scaled_gemm", mutates_args=())
def scaled_gemm(
    x: Tensor, weight: Tensor, x_scale: Tensor, weight_scale: Tensor, out_dtype: torch.dtype = torch.bfloat16
) -> Tensor:
    """Return the W8A8 product: (x * x_scale[:, None]) times (weight * weight_scale[:, None]) transposed -> [m, n] of
    `out_dtype`.

    x [m, k] and weight [n, k] both int8 or both float8_e4m3fn; x_scale [m] and weight_scale [n] float32, one for each
    token and one for each output channel, multiplied in after the sum. int8 sums are exact (int32).
    """
    return _SCALED(x, weight, x_scale, weight_scale, out_dtype)  # type: ignore[no-any-return]


@gemm.register_fake
def _(x: Tensor, weight: Tensor) -> Tensor:
    return x.new_empty(x.shape[0], weight.shape[0])


@scaled_gemm.register_fake
def _(
    x: Tensor, weight: Tensor, x_scale: Tensor, weight_scale: Tensor, out_dtype: torch.dtype = torch.bfloat16
) -> Tensor:
    return x.new_empty(x.shape[0], weight.shape[0], dtype=out_dtype)


def _gemm_reference(x: Tensor, weight: Tensor) -> Tensor:
    return (wide(x) @ wide(weight).T).to(x.dtype)


def _scaled_reference(
    x: Tensor, weight: Tensor, x_scale: Tensor, weight_scale: Tensor, out_dtype: torch.dtype
) -> Tensor:
    """Compute the product; float64 represents int32 sums exactly."""
    total = (x.double() @ weight.double().T) if x.dtype == torch.int8 else (x.float() @ weight.float().T)
    acc = accumulator(out_dtype)
    return (total.to(acc) * x_scale.to(acc).unsqueeze(1) * weight_scale.to(acc)).to(out_dtype)


def _check_product(op: str, x: Tensor, weight: Tensor) -> None:
    checks.require(x.dim() == 2, op, f"x has shape {list(x.shape)}; it takes [m, k]")
    checks.shape_is(op, "weight", weight, (None, x.shape[1]), f"[n, {x.shape[1]}]")
    checks.dtype_in(op, "weight", weight, (x.dtype,))
    checks.require(x.shape[1] > 0, op, "k is 0; it takes k > 0")
    checks.last_dim_dense(op, "x", x)
    checks.last_dim_dense(op, "weight", weight)
    checks.same_device(op, x, weight)


def _check_gemm(x: Tensor, weight: Tensor) -> None:
    checks.dtype_in("gemm", "x", x, checks.FLOATS)
    _check_product("gemm", x, weight)


def _check_scaled(x: Tensor, weight: Tensor, x_scale: Tensor, weight_scale: Tensor, out_dtype: torch.dtype) -> None:
    op = "scaled_gemm"
    checks.dtype_in(op, "x", x, (torch.int8, torch.float8_e4m3fn))
    _check_product(op, x, weight)
    for name, scale, size in (("x_scale", x_scale, x.shape[0]), ("weight_scale", weight_scale, weight.shape[0])):
        checks.dtype_in(op, name, scale, (torch.float32, torch.float64))
        checks.shape_is(op, name, scale, (size,), f"[{size}]")
        checks.contiguous(op, name, scale)
    checks.require(out_dtype in checks.FLOATS, op, f"out_dtype {out_dtype}; it takes a float type of 16 bits or more")


def _gemm_triton(x: Tensor, weight: Tensor) -> Tensor:
    from llm_kernels.triton_kernels import gemm as kernels

    return kernels.gemm(x, weight)


def _gemm_cuda(x: Tensor, weight: Tensor) -> Tensor:
    from llm_kernels.cuda import launch

    return launch.gemm(x, weight)


def _gemm_cuda_refuses(x: Tensor, weight: Tensor) -> str | None:
    if x.dtype != torch.bfloat16:
        return "is built for bfloat16"
    if x.shape[0] < 128 or x.shape[0] % 128 or weight.shape[0] % 256 or x.shape[1] % 64:
        return "needs m a multiple of 128, n of 256, k of 64"
    return None if x.is_contiguous() and weight.is_contiguous() else "needs contiguous tensors"


def _scaled_triton(x: Tensor, weight: Tensor, x_scale: Tensor, weight_scale: Tensor, out_dtype: torch.dtype) -> Tensor:
    from llm_kernels.triton_kernels import gemm as kernels

    return kernels.scaled_gemm(x, weight, x_scale, weight_scale, out_dtype)


def _scaled_cuda(x: Tensor, weight: Tensor, x_scale: Tensor, weight_scale: Tensor, out_dtype: torch.dtype) -> Tensor:
    from llm_kernels.cuda import launch

    return launch.scaled_gemm(x, weight, x_scale, weight_scale)


def _scaled_cuda_refuses(
    x: Tensor, weight: Tensor, x_scale: Tensor, weight_scale: Tensor, out_dtype: torch.dtype
) -> str | None:
    if out_dtype != torch.bfloat16:
        return "is built for results in bfloat16"
    if x.shape[0] < 128 or x.shape[0] % 128 or weight.shape[0] % 256 or x.shape[1] % 128:
        return "needs m a multiple of 128, n of 256, k of 128"
    return None if x.is_contiguous() and weight.is_contiguous() else "needs contiguous tensors"


_GEMM = dispatch.define(
    "gemm",
    check=_check_gemm,
    reference=_gemm_reference,
    triton=_gemm_triton,
    cuda=Implementation("cuda", _gemm_cuda, _gemm_cuda_refuses, (9, 0), exact_capability=True),
)
_SCALED = dispatch.define(
    "scaled_gemm",
    check=_check_scaled,
    reference=_scaled_reference,
    triton=_scaled_triton,
    cuda=Implementation("cuda", _scaled_cuda, _scaled_cuda_refuses, (9, 0), exact_capability=True),
)
