"""A Triton kernel without a mask on its loads: what lies behind the row enters the sum."""

import torch
import triton
import triton.language as tl

OP = "rms_norm"
FAILS = "accurate"


@triton.jit
def kernel(x, weight, out, hidden, eps, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    i = tl.arange(0, BLOCK)
    # The index is clamped, so that the interpreter does not leave the tensor; the sum still counts an element twice.
    at = tl.minimum(i, hidden - 1)
    xf = tl.load(x + row * hidden + at).to(tl.float32)
    scale = 1.0 / tl.sqrt(tl.sum(xf * xf, axis=0) / hidden + eps)
    y = xf * scale * tl.load(weight + at).to(tl.float32)
    tl.store(out + row * hidden + at, y.to(out.dtype.element_ty), mask=i < hidden)


def run(x, weight, eps):
    x = x.contiguous()
    out = torch.empty_like(x)
    if x.numel():
        kernel[(x.shape[0],)](x, weight, out, x.shape[1], eps, BLOCK=triton.next_power_of_2(x.shape[1]))
    return out
