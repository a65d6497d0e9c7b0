"""Inversion of a cumulative distribution that is too long for registers, shared by sampling and rejection."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def place_in_chunk(weights, i, before, target):
    """Return a chunk's first index whose running sum passes `target`, else the last of positive weight, else -1."""
    running = before + tl.cumsum(weights, axis=0)
    passed = tl.min(tl.where((running > target) & (weights > 0), i, 2147483647), axis=0)
    last = tl.max(tl.where(weights > 0, i, -1), axis=0)
    return tl.where(passed < 2147483647, passed, last)
