"""4-bit weights times 16-bit activations: words are loaded as they lie in the checkpoint and unpacked in registers.

A tile of words is loaded once, along the dimension that is contiguous in memory, and each word becomes eight weights by
a broadcast shift and a reshape. (Loading "the word of weight (n, k)" for each weight is shorter, but it is eight times
the loads, and along n in layouts that lie along k: the first version did so and took eight times as long.) Few rows
leave few programs, so the inputs are split over several programs whose sums are added after (split-K).
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from llm_kernels import layouts, tuning


@triton.jit
def _nibbles(LAYOUT: tl.constexpr):
    """Return the bits below elements 0..7 of a word: in order, or in AWQ's order 0 2 4 6 1 3 5 7."""
    element = tl.arange(0, 8)
    if LAYOUT == "awq" or LAYOUT == "fragments":
        element = (element & 1) * 4 + (element >> 1)
    return element * 4


@triton.jit
def _weights(qweight, first, start, n, k, LAYOUT: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr):
    """Load the values 0..15 of BLOCK_N outputs from `first` and BLOCK_K inputs from `start`.

    Returns [BLOCK_K, BLOCK_N], or [BLOCK_N, BLOCK_K] where words lie along the inputs.
    """
    shift = _nibbles(LAYOUT)
    if LAYOUT == "gptq":
        words = tl.load(
            qweight + (start // 8 + tl.arange(0, BLOCK_K // 8))[:, None] * n
            + ((first + tl.arange(0, BLOCK_N)) % n)[None, :]
        )  # fmt: skip
        values = tl.reshape((words[:, None, :] >> shift[None, :, None]) & 15, [BLOCK_K, BLOCK_N])
    elif LAYOUT == "awq":
        word = (first // 8 + tl.arange(0, BLOCK_N // 8)) % (n // 8)
        words = tl.load(qweight + (start + tl.arange(0, BLOCK_K))[:, None] * (n // 8) + word[None, :])
        values = tl.reshape((words[:, :, None] >> shift[None, None, :]) & 15, [BLOCK_K, BLOCK_N])
    else:
        row = ((first + tl.arange(0, BLOCK_N)) % n)[:, None]
        word = (start // 8 + tl.arange(0, BLOCK_K // 8))[None, :]
        if LAYOUT == "compressed-tensors":
            at = row * (k // 8) + word
        else:  # fragments: whole tiles of 16 x 128, in them two halves of 8 rows
            at = (row // 16 * (k // 128) + word // 16) * 256 + row % 16 * 16 + word % 16
        values = (tl.load(qweight + at)[:, :, None] >> shift[None, None, :]) & 15
        if LAYOUT == "fragments":  # t, w, eighth, pair -> w, eighth, t, pair
            parts = tl.reshape(values, [BLOCK_N, BLOCK_K // 128, 4, 4, 4, 2])
            values = tl.permute(parts, [0, 1, 3, 4, 2, 5])
        values = tl.reshape(values, [BLOCK_N, BLOCK_K])
    return values


@triton.jit
def w4a16_gemm_kernel(
    x, qweight, scales, zeros, out, m, n, k, x_stride, scales_group, scales_n, zeros_group, zeros_n, group_size,
    HAS_ZEROS: tl.constexpr, LAYOUT: tl.constexpr, SPLIT_K: tl.constexpr, PRECISION: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    tile_n, tile_m, split = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    row = tile_m * BLOCK_M + tl.arange(0, BLOCK_M)
    column = tile_n * BLOCK_N + tl.arange(0, BLOCK_N)
    wrapped = column % n
    i = tl.arange(0, BLOCK_K)
    acc = tl.zeros([BLOCK_M, BLOCK_N], tl.float32)
    for step in range(split, k // BLOCK_K, SPLIT_K):
        at = step * BLOCK_K + i
        a = tl.load(x + row.to(tl.int64)[:, None] * x_stride + at[None, :], mask=(row < m)[:, None], other=0.0)
        values = _weights(qweight, tile_n * BLOCK_N, step * BLOCK_K, n, k, LAYOUT, BLOCK_N, BLOCK_K)
        group = step * BLOCK_K // group_size
        scale = tl.load(scales + group * scales_group + wrapped * scales_n).to(tl.float32)
        zero = tl.full([BLOCK_N], 8.0, tl.float32)
        if HAS_ZEROS:
            zero = tl.load(zeros + group * zeros_group + wrapped * zeros_n).to(tl.float32)
        # An integer below 2^23 under the exponent of 2^23 is 2^23 plus it, exactly: cheaper than a conversion.
        shifted = (values | 0x4B000000).to(tl.float32, bitcast=True)
        if LAYOUT == "gptq" or LAYOUT == "awq":
            b = ((shifted - (zero + 8388608.0)[None, :]) * scale[None, :]).to(x.dtype.element_ty)
        else:
            b = tl.trans(((shifted - (zero + 8388608.0)[:, None]) * scale[:, None]).to(x.dtype.element_ty))
        acc = tl.dot(a, b, acc, input_precision=PRECISION)
    inside = (row < m)[:, None] & (column < n)[None, :]
    place = out + split.to(tl.int64) * m * n + row.to(tl.int64)[:, None] * n + column[None, :]
    tl.store(place, acc.to(out.dtype.element_ty), mask=inside)


CONFIGS: tuple[dict[str, int], ...] = (
    {"BLOCK_M": 16, "BLOCK_N": 64, "BLOCK_K": 128, "SPLIT_K": 4, "num_warps": 4, "num_stages": 3},
    {"BLOCK_M": 16, "BLOCK_N": 64, "BLOCK_K": 64, "SPLIT_K": 8, "num_warps": 4, "num_stages": 4},
    {"BLOCK_M": 64, "BLOCK_N": 64, "BLOCK_K": 128, "SPLIT_K": 4, "num_warps": 4, "num_stages": 3},
    {"BLOCK_M": 64, "BLOCK_N": 64, "BLOCK_K": 64, "SPLIT_K": 8, "num_warps": 4, "num_stages": 4},
    {"BLOCK_M": 128, "BLOCK_N": 128, "BLOCK_K": 64, "SPLIT_K": 1, "num_warps": 8, "num_stages": 3},
)
"""Tuning candidates; the first, third and last are the defaults for up to 16, up to 64 and more rows."""


def config(x: Tensor, group_size: int) -> dict[str, int]:
    m = x.shape[0]
    chosen = dict(CONFIGS[0] if m <= 16 else CONFIGS[2] if m <= 64 else CONFIGS[4])
    if x.dtype == torch.float32:
        chosen = {"BLOCK_M": 16, "BLOCK_N": 32, "BLOCK_K": 128, "SPLIT_K": 2, "num_warps": 4, "num_stages": 1}
    return chosen


def candidates(op: str, x: Tensor, *rest: object) -> list[dict[str, int]]:
    return [c for c in CONFIGS if (c["BLOCK_M"] == 16) == (x.shape[0] <= 16)]


def tuning_key(op: str, x: Tensor, qweight: Tensor, scales: Tensor, zeros: Tensor | None, layout: str) -> str:
    return f"{layout}-" + tuning.key_of(x.dtype, x.shape[0], scales.shape[1], x.shape[1], x.shape[1] // scales.shape[0])


def w4a16_gemm(
    x: Tensor,
    qweight: Tensor,
    scales: Tensor,
    zeros: Tensor | None,
    layout: str,
    chosen: dict[str, int] | None = None,
) -> Tensor:
    m, k = x.shape
    n = scales.shape[1]
    group_size = k // scales.shape[0]
    key = tuning_key("w4a16_gemm", x, qweight, scales, zeros, layout)
    options = dict(chosen or tuning.best("w4a16_gemm", key) or config(x, group_size))
    if layout == "fragments":
        options["BLOCK_K"] = layouts.TILE_K
    while group_size % options["BLOCK_K"]:
        options["BLOCK_K"] //= 2
    splits = options["SPLIT_K"] = max(1, min(options["SPLIT_K"], k // options["BLOCK_K"]))
    out = torch.empty((splits, m, n), dtype=x.dtype if splits == 1 else torch.float32, device=x.device)
    if out.numel():
        spare = scales if zeros is None else zeros
        grid = (triton.cdiv(n, options["BLOCK_N"]), triton.cdiv(m, options["BLOCK_M"]), splits)
        w4a16_gemm_kernel[grid](
            x, qweight, scales, spare, out, m, n, k, x.stride(0), scales.stride(0), scales.stride(1), spare.stride(0),
            spare.stride(1), group_size, HAS_ZEROS=zeros is not None, LAYOUT=layout, PRECISION="ieee", **options,
        )  # fmt: skip
    return out[0] if splits == 1 else out.sum(0).to(x.dtype)


assert layouts.FORMATS == ("gptq", "awq", "compressed-tensors", "fragments"), "_weights knows these four"
