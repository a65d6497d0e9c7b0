"""Writes every result into one buffer: the second call overwrites what the first returned."""

import torch

OP = "silu_and_mul"
FAILS = "fresh"
_buffer = torch.empty(0)


def run(x):
    global _buffer  # noqa: PLW0603 - this is what is wrong with it
    gate, up = x.float().chunk(2, dim=-1)
    y = (torch.nn.functional.silu(gate) * up).to(x.dtype)
    if _buffer.numel() < y.numel() or _buffer.dtype != y.dtype or _buffer.device != y.device:
        _buffer = torch.empty(y.numel(), dtype=y.dtype, device=y.device)
    out = _buffer[: y.numel()].view(y.shape)
    out.copy_(y)
    return out
