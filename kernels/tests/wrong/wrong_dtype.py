"""Returns float32 whatever it was given."""

import torch

OP = "softmax"
FAILS = "accurate"


def run(x):
    return torch.softmax(x.float(), dim=-1)
