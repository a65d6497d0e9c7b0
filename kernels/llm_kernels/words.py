"""Codes of 2, 3, 4 or 8 bits in int32 words, the lowest bits first, as compressed-tensors and GPTQ pack them.

A word holds 32 // bits codes; with 3 bits its last two bits are empty. `layouts` has the orders of 4-bit formats that
this does not cover.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad


def num_words(count: int, bits: int) -> int:
    """Return how many words hold `count` codes."""
    return -(-count // (32 // bits))


def pack_words(codes: Tensor, bits: int, dim: int) -> Tensor:
    """Pack codes 0 … 2^bits - 1 along `dim`, filled up with zeros, into int32 words."""
    per_word = 32 // bits
    moved = codes.movedim(dim, -1).to(torch.int64)
    moved = pad(moved, (0, num_words(moved.shape[-1], bits) * per_word - moved.shape[-1]))
    shifts = torch.arange(per_word, device=codes.device) * bits
    packed = (moved.reshape(*moved.shape[:-1], -1, per_word) << shifts).sum(-1)
    packed = torch.where(packed >= 2**31, packed - 2**32, packed)
    return packed.to(torch.int32).movedim(-1, dim).contiguous()


def unpack_words(packed: Tensor, bits: int, dim: int, count: int) -> Tensor:
    """Undo `pack_words`: return `count` codes along `dim`, uint8."""
    shifts = torch.arange(32 // bits, device=packed.device) * bits
    codes: Tensor = (packed.movedim(dim, -1).to(torch.int64).unsqueeze(-1) >> shifts) & (2**bits - 1)
    codes = codes.flatten(-2)[..., :count].to(torch.uint8)
    return codes.movedim(-1, dim).contiguous()
