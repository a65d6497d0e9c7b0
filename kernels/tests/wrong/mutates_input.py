"""Right, but uses its input as scratch memory."""

import torch

OP = "softmax"
FAILS = "pure"


def run(x):
    wide = x.float()
    x.sub_(x.amax(-1, keepdim=True))
    return torch.softmax(wide, dim=-1).to(x.dtype)
