"""Divides by a sum that is zero for rows of zeros."""

import torch

OP = "quantize_per_token"
FAILS = "accurate"


def run(x, dtype):
    largest = 127.0 if dtype == torch.int8 else 448.0
    scale = x.float().abs().amax(-1, keepdim=True) / largest
    scaled = x.float() / scale
    return (scaled.round() if dtype == torch.int8 else scaled).to(dtype), scale.squeeze(-1)
