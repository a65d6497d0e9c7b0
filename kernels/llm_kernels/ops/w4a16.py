"""W4A16: 16-bit activations times 4-bit weights, dequantised on the way into the multiply.

Marlin: Frantar et al., 2024. Formats: `llm_kernels.layouts`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from llm_kernels import dispatch, layouts
from llm_kernels.dispatch import Implementation
from llm_kernels.numerics import accumulator
from llm_kernels.ops import checks


@torch.library.custom_op("llm_kernels::w4a16_gemm", mutates_args=())
def w4a16_gemm(x: Tensor, qweight: Tensor, scales: Tensor, zeros: Tensor | None, layout: str) -> Tensor:
    """x [m, k] times the 4-bit weight [n, k] transposed -> [m, n] of x's dtype, accumulated in float32.

    qweight int32 in `layout` (gptq, awq, compressed-tensors, fragments); scales [groups, n] of x's dtype; zeros
    [groups, n] uint8, None: 8. `llm_kernels.layouts.from_gptq` and its siblings make these from a checkpoint's tensors;
    for an act-order weight pass x[:, permutation].
    """
    return _W4A16(x, qweight, scales, zeros, layout)  # type: ignore[no-any-return]


@w4a16_gemm.register_fake
def _(x: Tensor, qweight: Tensor, scales: Tensor, *_: Any) -> Tensor:
    return x.new_empty(x.shape[0], scales.shape[1])


def _reference(x: Tensor, qweight: Tensor, scales: Tensor, zeros: Tensor | None, layout: str) -> Tensor:
    acc = accumulator(x.dtype)
    weight = layouts.dequantize(layouts.W4(layout, qweight, scales.to(acc), zeros))
    return (x.to(acc) @ weight.T).to(x.dtype)


def _check(x: Tensor, qweight: Tensor, scales: Tensor, zeros: Tensor | None, layout: str) -> None:
    op = "w4a16_gemm"
    checks.require(layout in layouts.FORMATS, op, f"layout {layout!r}; it takes {', '.join(layouts.FORMATS)}")
    checks.dtype_in(op, "x", x, checks.FLOATS)
    checks.dtype_in(op, "qweight", qweight, (torch.int32,))
    checks.require(qweight.dim() == (3 if layout == "fragments" else 2), op, f"qweight has {qweight.dim()} dimensions")
    checks.contiguous(op, "qweight", qweight)
    n, k = layouts.unpacked_shape(qweight, layout)
    checks.shape_is(op, "x", x, (None, k), f"[m, {k}]")
    checks.last_dim_dense(op, "x", x)
    checks.dtype_in(op, "scales", scales, (x.dtype,))
    checks.shape_is(op, "scales", scales, (None, n), f"[groups, {n}]")
    groups = scales.shape[0]
    checks.require(groups > 0 and k % groups == 0, op, f"{groups} groups over k = {k}; it takes a divisor of k")
    if zeros is not None:
        checks.dtype_in(op, "zeros", zeros, (torch.uint8,))
        checks.shape_is(op, "zeros", zeros, tuple(scales.shape), f"{list(scales.shape)} (the scales')")
    checks.same_device(op, x, qweight, scales, zeros)


def _triton(*args: Any) -> Tensor:
    from llm_kernels.triton_kernels import w4a16 as kernels

    return kernels.w4a16_gemm(*args)


def _triton_refuses(x: Tensor, qweight: Tensor, scales: Tensor, zeros: Tensor | None, layout: str) -> str | None:
    group_size, unit = x.shape[1] // scales.shape[0], layouts.TILE_K if layout == "fragments" else 32
    return f"group size {group_size} is not a multiple of {unit}" if group_size % unit else None


def _cuda(x: Tensor, qweight: Tensor, scales: Tensor, zeros: Tensor | None, layout: str) -> Tensor:
    from llm_kernels.cuda import launch

    return launch.w4a16_gemm(x, qweight, scales, zeros)


def _cuda_refuses(x: Tensor, qweight: Tensor, scales: Tensor, zeros: Tensor | None, layout: str) -> str | None:
    if layout != "fragments":
        return "reads the layout fragments: repack once with layouts.repack(weight, 'fragments')"
    if x.dtype not in (torch.float16, torch.bfloat16):
        return "is built for float16 and bfloat16"
    if (x.shape[1] // scales.shape[0]) % layouts.TILE_K:
        return f"needs a group size that is a multiple of {layouts.TILE_K}"
    tensors = [t for t in (x, qweight, scales, zeros) if t is not None]
    if not all(t.is_contiguous() for t in tensors):
        return "needs contiguous tensors"
    return "needs tensors that begin at multiples of 16 bytes" if any(t.data_ptr() % 16 for t in tensors) else None


_W4A16 = dispatch.define(
    "w4a16_gemm",
    check=_check,
    reference=_reference,
    triton=_triton,
    triton_refuses=_triton_refuses,
    cuda=Implementation("cuda", _cuda, _cuda_refuses, (9, 0), exact_capability=True),
)
