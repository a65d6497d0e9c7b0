"""Computes whole blocks of 64 columns only: the rest of a ragged row is never written."""

import torch

OP = "silu_and_mul"
FAILS = "accurate"


def run(x):
    size = x.shape[-1] // 2
    out = torch.empty(*x.shape[:-1], size, dtype=x.dtype, device=x.device)
    whole = size // 64 * 64
    gate, up = x.float().chunk(2, dim=-1)
    out[..., :whole] = (torch.nn.functional.silu(gate) * up)[..., :whole].to(x.dtype)
    return out
