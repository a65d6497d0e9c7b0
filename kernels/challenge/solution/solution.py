"""Our solution, in three techniques, each worth measuring alone:

1. Fusion: one kernel in place of three. The float32 sum no longer goes to memory and back: 24 bytes an element
   become 8.
2. The row in registers: each element is loaded once and kept, in place of being read again for the scaling.
3. Width: a row is one block of 8 warps, so every thread has several 16-byte loads in flight, in place of one warp that
   waits for each piece of 128.
"""

import torch
import triton
import triton.language as tl

OP = "fused_add_rms_norm"


@triton.jit
def kernel(x, residual, weight, out, total_out, hidden, eps, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    i = tl.arange(0, BLOCK)
    inside = i < hidden
    total = tl.load(x + row * hidden + i, mask=inside, other=0.0).to(tl.float32)
    total += tl.load(residual + row * hidden + i, mask=inside, other=0.0).to(tl.float32)
    w = tl.load(weight + i, mask=inside, other=0.0).to(tl.float32)
    tl.store(total_out + row * hidden + i, total.to(total_out.dtype.element_ty), mask=inside)
    scale = 1.0 / tl.sqrt(tl.sum(total * total, axis=0) / hidden + eps)
    tl.store(out + row * hidden + i, (total * scale * w).to(out.dtype.element_ty), mask=inside)


def run(x, residual, weight, eps):
    x, residual = x.contiguous(), residual.contiguous()
    hidden = x.shape[-1]
    rows = x.numel() // hidden
    out, total_out = torch.empty_like(x), torch.empty_like(x)
    if rows:
        block = triton.next_power_of_2(hidden)
        warps = min(16, max(1, block // 512))
        kernel[(rows,)](x, residual, weight, out, total_out, hidden, eps, BLOCK=block, num_warps=warps)
    return out, total_out
