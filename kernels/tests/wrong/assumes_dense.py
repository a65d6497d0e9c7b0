"""Reads rows as if they lay one after another, whatever the strides say."""

import torch

OP = "softmax"
FAILS = "strided"


def run(x):
    dense = torch.as_strided(x, x.shape, (x.shape[-1], 1))
    return torch.softmax(dense.float(), dim=-1).to(x.dtype)
