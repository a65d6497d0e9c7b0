"""Softmax without the maximum taken away first: right for small logits, infinity over infinity for large ones."""

import torch

OP = "softmax"
FAILS = "extreme"


def run(x):
    e = torch.exp(x.float())
    return (e / e.sum(-1, keepdim=True)).to(x.dtype)
