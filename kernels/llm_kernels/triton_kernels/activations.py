"""Gated activations: element-wise, so the only bar is bandwidth. One program a piece of a row, 16-byte accesses.

Programs that start together take neighbouring pieces of one row: memory is read page by page.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait

from llm_kernels.triton_kernels.rows import as_rows, overlaps_launch

BLOCK, WARPS = 1024, 4


@triton.jit
def gated_kernel(x, out, x_stride, intermediate, ACTIVATION: tl.constexpr, PDL: tl.constexpr, BLOCK: tl.constexpr):
    if PDL:
        gdc_launch_dependents()
        gdc_wait()
    pieces = tl.cdiv(intermediate, BLOCK)
    row = (tl.program_id(0) // pieces).to(tl.int64)
    i = tl.program_id(0) % pieces * BLOCK + tl.arange(0, BLOCK)
    inside = i < intermediate
    gate = tl.load(x + row * x_stride + i, mask=inside, other=0.0).to(tl.float32)
    up = tl.load(x + row * x_stride + intermediate + i, mask=inside, other=0.0).to(tl.float32)
    if ACTIVATION == "silu":
        y = gate / (1.0 + tl.exp(-gate))
    elif ACTIVATION == "gelu":
        y = 0.5 * gate * (1.0 + tl.erf(gate * 0.7071067811865476))
    else:  # tanh(z) = 2 sigmoid(2z) - 1, with exp alone
        z = 0.7978845608028654 * (gate + 0.044715 * gate * gate * gate)
        y = gate / (1.0 + tl.exp(-2.0 * z))
    tl.store(out + row * intermediate + i, (y * up).to(out.dtype.element_ty), mask=inside)


def gated(x: Tensor, activation: str) -> Tensor:
    """Launch the gated activation. `activation`: silu, gelu or gelu_tanh."""
    rows, intermediate = as_rows(x), x.shape[-1] // 2
    out = torch.empty((*x.shape[:-1], intermediate), dtype=x.dtype, device=x.device)
    if out.numel():
        block = min(BLOCK, triton.next_power_of_2(intermediate))
        gated_kernel[(rows.shape[0] * triton.cdiv(intermediate, block),)](
            rows,
            out,
            rows.stride(0),
            intermediate,
            ACTIVATION=activation,
            PDL=overlaps_launch(x),
            BLOCK=block,
            num_warps=WARPS if block > 256 else 1,
            launch_pdl=overlaps_launch(x),
        )
    return out
