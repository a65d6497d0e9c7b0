"""Keeps the first result for each shape and returns it ever after."""

import torch

OP = "rms_norm"
FAILS = "fresh"
_results: dict[tuple[object, ...], torch.Tensor] = {}


def run(x, weight, eps):
    key = (tuple(x.shape), x.dtype)
    if key not in _results:
        _results[key] = torch.nn.functional.rms_norm(x.float(), weight.shape, weight.float(), eps).to(x.dtype)
    return _results[key]
