"""The challenge: add + RMSNorm, right and slow. Make it at least twice as fast with three techniques of your own.

The checker requires `OP` and `run`; see README.md in this folder.
"""

import torch
import triton
import triton.language as tl

OP = "fused_add_rms_norm"


@triton.jit
def add_kernel(x, residual, total, hidden, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    for start in range(0, hidden, BLOCK):
        i = start + tl.arange(0, BLOCK)
        a = tl.load(x + row * hidden + i, mask=i < hidden, other=0.0).to(tl.float32)
        b = tl.load(residual + row * hidden + i, mask=i < hidden, other=0.0).to(tl.float32)
        tl.store(total + row * hidden + i, a + b, mask=i < hidden)


@triton.jit
def square_kernel(total, squares, hidden, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    sums = 0.0
    for start in range(0, hidden, BLOCK):
        i = start + tl.arange(0, BLOCK)
        x = tl.load(total + row * hidden + i, mask=i < hidden, other=0.0)
        sums += tl.sum(x * x, axis=0)
    tl.store(squares + row, sums)


@triton.jit
def scale_kernel(total, squares, weight, out, total_out, hidden, eps, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    scale = 1.0 / tl.sqrt(tl.load(squares + row) / hidden + eps)
    for start in range(0, hidden, BLOCK):
        i = start + tl.arange(0, BLOCK)
        x = tl.load(total + row * hidden + i, mask=i < hidden, other=0.0)
        w = tl.load(weight + i, mask=i < hidden, other=0.0).to(tl.float32)
        tl.store(out + row * hidden + i, (x * scale * w).to(out.dtype.element_ty), mask=i < hidden)
        tl.store(total_out + row * hidden + i, x.to(total_out.dtype.element_ty), mask=i < hidden)


def run(x, residual, weight, eps):
    x, residual = x.contiguous(), residual.contiguous()
    hidden = x.shape[-1]
    rows = x.numel() // hidden
    out, total_out = torch.empty_like(x), torch.empty_like(x)
    total = torch.empty(x.shape, dtype=torch.float32, device=x.device)
    squares = torch.empty(rows, dtype=torch.float32, device=x.device)
    if rows:
        add_kernel[(rows,)](x, residual, total, hidden, BLOCK=128, num_warps=1)
        square_kernel[(rows,)](total, squares, hidden, BLOCK=128, num_warps=1)
        scale_kernel[(rows,)](total, squares, weight, out, total_out, hidden, eps, BLOCK=128, num_warps=1)
    return out, total_out
