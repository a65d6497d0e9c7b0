"""Rung 1, eager torch: the formula as it is written, one kernel launch an operation.

Half a dozen launches for the query and as many for the key, each reading and writing whole tensors, float32 copies in
between; then one for the cache.

Predicted: 5 to 10% of bandwidth: about fifteen passes over memory where two would do.
"""

import torch


def launch(query, key, value, positions, cos_sin, slots, out, cache):
    half = cos_sin.shape[1] // 2
    cos, sin = cos_sin[positions].unsqueeze(1).chunk(2, dim=-1)

    def rotate(x):
        a, b = x[..., :half].float(), x[..., half:].float()
        return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1).to(x.dtype)

    out.copy_(rotate(query))
    cache.view(-1, *cache.shape[2:]).index_copy_(0, slots, torch.stack((rotate(key), value), dim=1))
