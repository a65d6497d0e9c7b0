"""Tiled matrix products: plain, and 8-bit with the scales multiplied in after the sum."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from llm_kernels import tuning

GROUP_M = 8


@triton.jit
def tile_of(program, m, n, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, GROUP: tl.constexpr):
    """Return a program's tile. Tiles go in bands of GROUP rows, so that concurrent programs share operands in L2."""
    tiles_m, tiles_n = tl.cdiv(m, BLOCK_M), tl.cdiv(n, BLOCK_N)
    band = GROUP * tiles_n
    first = program // band * GROUP
    rows = tl.minimum(tiles_m - first, GROUP)
    return first + program % band % rows, program % band // rows


@triton.jit
def gemm_kernel(
    x, weight, out, x_scale, weight_scale, m, n, k, x_stride, weight_stride, SCALED: tl.constexpr, ACC: tl.constexpr,
    EVEN_K: tl.constexpr, PRECISION: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
    GROUP: tl.constexpr,
):  # fmt: skip
    tile_m, tile_n = tile_of(tl.program_id(0), m, n, BLOCK_M, BLOCK_N, GROUP)
    row = tile_m * BLOCK_M + tl.arange(0, BLOCK_M)
    column = tile_n * BLOCK_N + tl.arange(0, BLOCK_N)
    i = tl.arange(0, BLOCK_K)
    # Rows and columns past the end wrap around: loads need no mask, and what they compute is not stored.
    x_at = x + (row % m).to(tl.int64)[:, None] * x_stride + i[None, :]
    weight_at = weight + (column % n).to(tl.int64)[None, :] * weight_stride + i[:, None]
    acc = tl.zeros([BLOCK_M, BLOCK_N], ACC)
    for start in range(0, k, BLOCK_K):
        if EVEN_K:
            a = tl.load(x_at)
            b = tl.load(weight_at)
        else:
            a = tl.load(x_at, mask=(start + i < k)[None, :], other=0.0)
            b = tl.load(weight_at, mask=(start + i < k)[:, None], other=0.0)
        acc = tl.dot(a, b, acc, input_precision=PRECISION, out_dtype=ACC)
        x_at += BLOCK_K
        weight_at += BLOCK_K
    inside = (row < m)[:, None] & (column < n)[None, :]
    total = acc.to(tl.float32)
    if SCALED:
        total *= tl.load(x_scale + row, mask=row < m, other=0.0)[:, None]
        total *= tl.load(weight_scale + column, mask=column < n, other=0.0)[None, :]
    tl.store(out + row.to(tl.int64)[:, None] * n + column[None, :], total.to(out.dtype.element_ty), mask=inside)


CONFIGS: tuple[dict[str, int], ...] = (
    {"BLOCK_M": 128, "BLOCK_N": 256, "BLOCK_K": 64, "num_warps": 8, "num_stages": 3},
    {"BLOCK_M": 128, "BLOCK_N": 256, "BLOCK_K": 64, "num_warps": 8, "num_stages": 4},
    {"BLOCK_M": 128, "BLOCK_N": 128, "BLOCK_K": 64, "num_warps": 4, "num_stages": 4},
    {"BLOCK_M": 64, "BLOCK_N": 128, "BLOCK_K": 64, "num_warps": 4, "num_stages": 4},
    {"BLOCK_M": 16, "BLOCK_N": 64, "BLOCK_K": 128, "num_warps": 4, "num_stages": 4},
)
"""Tuning candidates for 16-bit types; for 8-bit ones BLOCK_K is doubled, which is the same number of bytes."""


def config(x: Tensor, n: int) -> dict[str, int]:
    m = x.shape[0]
    if x.dtype == torch.float32:
        return {"BLOCK_M": 32, "BLOCK_N": 32, "BLOCK_K": 32, "num_warps": 4, "num_stages": 2}
    if m <= 16:
        chosen = CONFIGS[4]
    elif m <= 64:
        chosen = CONFIGS[3]
    else:
        chosen = CONFIGS[0] if m * n >= 128 * 256 * 132 else CONFIGS[2]
    return for_width(chosen, x)


def candidates(op: str, x: Tensor, *rest: object) -> list[dict[str, int]]:
    return [for_width(chosen, x) for chosen in CONFIGS]


def tuning_key(op: str, x: Tensor, weight: Tensor, *rest: object) -> str:
    return tuning.key_of(x.dtype, x.shape[0], weight.shape[0], x.shape[1])


def for_width(chosen: dict[str, int], x: Tensor) -> dict[str, int]:
    return {**chosen, "BLOCK_K": chosen["BLOCK_K"] * 2} if x.element_size() == 1 else dict(chosen)


def gemm(x: Tensor, weight: Tensor, chosen: dict[str, int] | None = None) -> Tensor:
    out = torch.empty((x.shape[0], weight.shape[0]), dtype=x.dtype, device=x.device)
    return _launch(x, weight, out, None, None, chosen)


def scaled_gemm(
    x: Tensor,
    weight: Tensor,
    x_scale: Tensor,
    weight_scale: Tensor,
    out_dtype: torch.dtype,
    chosen: dict[str, int] | None = None,
) -> Tensor:
    out = torch.empty((x.shape[0], weight.shape[0]), dtype=out_dtype, device=x.device)
    return _launch(x, weight, out, x_scale, weight_scale, chosen)


def _launch(
    x: Tensor, weight: Tensor, out: Tensor, x_scale: Tensor | None, weight_scale: Tensor | None,
    chosen: dict[str, int] | None,
) -> Tensor:  # fmt: skip
    (m, k), n = x.shape, weight.shape[0]
    if not out.numel():
        return out
    op = "gemm" if x_scale is None else "scaled_gemm"
    options = chosen or tuning.best(op, tuning_key(op, x, weight)) or config(x, n)
    grid = (triton.cdiv(m, options["BLOCK_M"]) * triton.cdiv(n, options["BLOCK_N"]),)
    gemm_kernel[grid](
        x, weight, out, out if x_scale is None else x_scale, out if weight_scale is None else weight_scale, m, n, k,
        x.stride(0), weight.stride(0), SCALED=x_scale is not None,
        ACC=tl.int32 if x.dtype == torch.int8 else tl.float32, EVEN_K=k % options["BLOCK_K"] == 0, PRECISION="ieee",
        GROUP=GROUP_M, **options,
    )  # fmt: skip
    return out
