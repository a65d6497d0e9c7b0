"""Adds partial sums without an atomic: now and then one of two updates is lost, here by the roll of a die."""

import random

import torch

OP = "rms_norm"
FAILS = "repeatable"


def run(x, weight, eps):
    xf = x.float()
    half = (x.shape[-1] + 1) // 2
    first, second = xf[..., :half].square().sum(-1, keepdim=True), xf[..., half:].square().sum(-1, keepdim=True)
    total = first + second if random.random() < 0.5 else first
    return (xf * torch.rsqrt(total / x.shape[-1] + eps) * weight.float()).to(x.dtype)
