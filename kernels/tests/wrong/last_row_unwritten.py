"""One program too few: the last row of the output is whatever the memory held."""

import torch
import triton
import triton.language as tl

OP = "softmax"
FAILS = "accurate"


@triton.jit
def kernel(x, out, n, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    i = tl.arange(0, BLOCK)
    xf = tl.load(x + row * n + i, mask=i < n, other=float("-inf")).to(tl.float32)
    e = tl.exp(xf - tl.max(xf, axis=0))
    tl.store(out + row * n + i, (e / tl.sum(e, axis=0)).to(out.dtype.element_ty), mask=i < n)


def run(x):
    x = x.contiguous()
    out = torch.empty_like(x)
    if x.shape[0] > 1:
        kernel[(x.shape[0] - 1,)](x, out, x.shape[1], BLOCK=triton.next_power_of_2(x.shape[1]))
    return out
