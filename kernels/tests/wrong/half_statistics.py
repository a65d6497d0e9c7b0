"""Computes the mean square at the input's own precision."""

import torch

OP = "rms_norm"
FAILS = "accurate"


def run(x, weight, eps):
    low = x.half()
    mean = low.square().mean(-1, keepdim=True).float()
    return (low.float() * torch.rsqrt(mean + eps) * weight.float()).to(x.dtype)
