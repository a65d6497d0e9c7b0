"""Row-wise norms: one program a row, the whole row in registers, one read and one write of device memory."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait

from llm_kernels.triton_kernels.rows import as_rows, overlaps_launch, row_warps


@triton.jit
def rms_norm_kernel(x, weight, out, x_stride, hidden, eps, PDL: tl.constexpr, BLOCK: tl.constexpr):
    if PDL:
        gdc_launch_dependents()
    row = tl.program_id(0).to(tl.int64)
    i = tl.arange(0, BLOCK)
    inside = i < hidden
    w = tl.load(weight + i, mask=inside, other=0.0).to(tl.float32)
    if PDL:
        gdc_wait()
    xf = tl.load(x + row * x_stride + i, mask=inside, other=0.0).to(tl.float32)
    scale = 1.0 / tl.sqrt(tl.sum(xf * xf, axis=0) / hidden + eps)
    tl.store(out + row * hidden + i, (xf * scale * w).to(out.dtype.element_ty), mask=inside)


@triton.jit
def fused_add_rms_norm_kernel(
    x, residual, weight, out, total_out, x_stride, residual_stride, hidden, eps, PDL: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    if PDL:
        gdc_launch_dependents()
    row = tl.program_id(0).to(tl.int64)
    i = tl.arange(0, BLOCK)
    inside = i < hidden
    w = tl.load(weight + i, mask=inside, other=0.0).to(tl.float32)
    if PDL:
        gdc_wait()
    total = tl.load(x + row * x_stride + i, mask=inside, other=0.0).to(tl.float32)
    total += tl.load(residual + row * residual_stride + i, mask=inside, other=0.0).to(tl.float32)
    tl.store(total_out + row * hidden + i, total.to(total_out.dtype.element_ty), mask=inside)
    scale = 1.0 / tl.sqrt(tl.sum(total * total, axis=0) / hidden + eps)
    tl.store(out + row * hidden + i, (total * scale * w).to(out.dtype.element_ty), mask=inside)


@triton.jit
def layer_norm_kernel(x, weight, bias, out, x_stride, hidden, eps, HAS_BIAS: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    i = tl.arange(0, BLOCK)
    inside = i < hidden
    xf = tl.load(x + row * x_stride + i, mask=inside, other=0.0).to(tl.float32)
    mean = tl.sum(xf, axis=0) / hidden
    centred = tl.where(inside, xf - mean, 0.0)
    scale = 1.0 / tl.sqrt(tl.sum(centred * centred, axis=0) / hidden + eps)
    y = centred * scale * tl.load(weight + i, mask=inside, other=0.0).to(tl.float32)
    if HAS_BIAS:
        y += tl.load(bias + i, mask=inside, other=0.0).to(tl.float32)
    tl.store(out + row * hidden + i, y.to(out.dtype.element_ty), mask=inside)


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    rows, out = as_rows(x), torch.empty(x.shape, dtype=x.dtype, device=x.device)
    count, hidden = rows.shape
    if count:
        block = triton.next_power_of_2(hidden)
        rms_norm_kernel[(count,)](
            rows, weight.contiguous(), out, rows.stride(0), hidden, eps, PDL=overlaps_launch(x), BLOCK=block,
            num_warps=row_warps(block), launch_pdl=overlaps_launch(x),
        )  # fmt: skip
    return out


def fused_add_rms_norm(x: Tensor, residual: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    rows, residual_rows = as_rows(x), as_rows(residual)
    out = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    total = torch.empty_like(out)
    count, hidden = rows.shape
    if count:
        block = triton.next_power_of_2(hidden)
        fused_add_rms_norm_kernel[(count,)](
            rows, residual_rows, weight.contiguous(), out, total, rows.stride(0), residual_rows.stride(0), hidden, eps,
            PDL=overlaps_launch(x), BLOCK=block, num_warps=row_warps(block), launch_pdl=overlaps_launch(x),
        )  # fmt: skip
    return out, total


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor | None, eps: float) -> Tensor:
    rows, out = as_rows(x), torch.empty(x.shape, dtype=x.dtype, device=x.device)
    count, hidden = rows.shape
    if count:
        block = triton.next_power_of_2(hidden)
        layer_norm_kernel[(count,)](
            rows, weight.contiguous(), weight if bias is None else bias.contiguous(), out, rows.stride(0), hidden, eps,
            HAS_BIAS=bias is not None, BLOCK=block, num_warps=row_warps(block),
        )  # fmt: skip
    return out
