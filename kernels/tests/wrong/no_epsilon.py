"""Forgets eps, which matters for rows that are nearly zero."""

import torch

OP = "rms_norm"
FAILS = "extreme"


def run(x, weight, eps):
    xf = x.float()
    return (xf * torch.rsqrt(xf.square().mean(-1, keepdim=True).clamp(min=1e-30)) * weight.float()).to(x.dtype)
