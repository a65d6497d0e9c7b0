"""The three 4-bit checkpoint formats that vLLM loads, and the layout that the CUDA kernel reads, in plain torch.

    format               qweight                      nibble i of a word holds            zero points
    gptq                 [in / 8, out]                input row 8r + i                    [in / g, out / 8], stored - 1
    awq                  [in, out / 8]                output 8c + [0,2,4,6,1,3,5,7][i]    [in / g, out / 8], same order
    compressed-tensors   [out, in / 8]                input column 8c + i, value + 8      [out / 8, in / g], along dim 0
    fragments            [out / 16, in / 128, 256]    see `to_fragments`                  as values

All are int32 words of eight nibbles, the lowest nibble first. Sources: AutoGPTQ's v1 format as vLLM reads it, AutoAWQ's
"gemm" version, compressed-tensors' `pack-quantized`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from llm_kernels.errors import UnsupportedInput

AWQ_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)
"""Nibble i of a word holds element AWQ_ORDER[i] of its eight."""
PLAIN_ORDER = tuple(range(8))
FORMATS = ("gptq", "awq", "compressed-tensors", "fragments")
TILE_N, TILE_K = 16, 128
"""A tile of `fragments`: 16 output rows, 128 inputs, 1 KiB."""


@dataclass(frozen=True)
class W4:
    """A 4-bit weight, ready for `ops.w4a16_gemm`: weight[n, k] = (value - zero) * scale of its group."""

    layout: str
    qweight: Tensor
    """int32, in the layout's shape."""
    scales: Tensor
    """[groups, out] float; can be a transposed view."""
    zeros: Tensor | None
    """[groups, out] uint8; None: 8, symmetric."""
    permutation: Tensor | None = None
    """[in] int64: the kernel's input i is the caller's input permutation[i] (GPTQ's act-order); None: as they are."""

    @property
    def shape(self) -> tuple[int, int]:
        """Return (out, in)."""
        return unpacked_shape(self.qweight, self.layout)


def pack_nibbles(values: Tensor, dim: int, order: tuple[int, ...] = PLAIN_ORDER) -> Tensor:
    """Pack values 0..15, a multiple of eight along `dim`, into int32 words; nibble i of a word is element order[i]."""
    moved = values.movedim(dim, -1)
    if moved.shape[-1] % 8:
        raise UnsupportedInput(f"dimension {dim} has {moved.shape[-1]} elements; packing takes a multiple of 8")
    eights = moved.reshape(*moved.shape[:-1], -1, 8)[..., list(order)].to(torch.int64)
    shifts = torch.arange(0, 32, 4, device=values.device)
    words = (eights << shifts).sum(-1)
    return torch.where(words >= 2**31, words - 2**32, words).to(torch.int32).movedim(-1, dim).contiguous()


def unpack_nibbles(words: Tensor, dim: int, order: tuple[int, ...] = PLAIN_ORDER) -> Tensor:
    """Undo `pack_nibbles`: return uint8 values, eight times as many along `dim`."""
    moved = words.movedim(dim, -1).to(torch.int64)
    shifts = torch.arange(0, 32, 4, device=words.device)
    nibbles = (moved.unsqueeze(-1) >> shifts) & 15
    inverse = [order.index(element) for element in range(8)]
    return nibbles[..., inverse].flatten(-2).to(torch.uint8).movedim(-1, dim).contiguous()


def pack_weight(values: Tensor, layout: str) -> Tensor:
    """Pack values [out, in] of 0..15 into the layout's words."""
    if layout == "gptq":
        return pack_nibbles(values.T, 0)
    if layout == "awq":
        return pack_nibbles(values.T, 1, AWQ_ORDER)
    if layout == "compressed-tensors":
        return pack_nibbles(values, 1)
    if layout == "fragments":
        return to_fragments(values)
    raise UnsupportedInput(f"layout {layout!r}; there are {', '.join(FORMATS)}")


def unpack_weight(qweight: Tensor, layout: str) -> Tensor:
    """Return the values [out, in] as uint8 of 0..15."""
    if layout == "gptq":
        return unpack_nibbles(qweight, 0).T.contiguous()
    if layout == "awq":
        return unpack_nibbles(qweight, 1, AWQ_ORDER).T.contiguous()
    if layout == "compressed-tensors":
        return unpack_nibbles(qweight, 1)
    if layout == "fragments":
        return from_fragments(qweight)
    raise UnsupportedInput(f"layout {layout!r}; there are {', '.join(FORMATS)}")


def unpacked_shape(qweight: Tensor, layout: str) -> tuple[int, int]:
    """Return (out, in) of a packed weight."""
    if layout == "gptq":
        return qweight.shape[1], qweight.shape[0] * 8
    if layout == "awq":
        return qweight.shape[1] * 8, qweight.shape[0]
    if layout == "compressed-tensors":
        return qweight.shape[0], qweight.shape[1] * 8
    return qweight.shape[0] * TILE_N, qweight.shape[1] * TILE_K


def to_fragments(values: Tensor) -> Tensor:
    """Pack [out, in] into [out / 16, in / 128, 256] words, so that a lane loads a tile as 16 contiguous bytes, twice.

    Word ((half * 32 + lane) * 4 + w) of a tile holds, for row 8 * half + lane // 4 and t = lane % 4, the inputs
    32 * w + 2 * t + (0, 1, 8, 9, 16, 17, 24, 25): a lane's part of the tensor core's A operand for two steps of 16
    inputs. They lie in AWQ's nibble order: masking a word with 0x000f000f then yields two neighbours.
    """
    out, k = values.shape
    if out % TILE_N or k % TILE_K:
        raise UnsupportedInput(f"weight [{out}, {k}]; fragments take out a multiple of {TILE_N}, in of {TILE_K}")
    tiles = values.view(out // 16, 2, 8, k // 128, 4, 4, 4, 2)  # tile_n, half, row, tile_k, w, eighth, t, pair
    ordered = tiles.permute(0, 3, 1, 2, 6, 4, 5, 7).reshape(out // 16, k // 128, 2048)
    return pack_nibbles(ordered, 2, AWQ_ORDER)


def from_fragments(fragments: Tensor) -> Tensor:
    tiles_n, tiles_k, _ = fragments.shape
    ordered = unpack_nibbles(fragments, 2, AWQ_ORDER).view(tiles_n, tiles_k, 2, 8, 4, 4, 4, 2)
    return ordered.permute(0, 2, 3, 1, 5, 6, 4, 7).reshape(tiles_n * 16, tiles_k * 128).contiguous()


def from_gptq(qweight: Tensor, qzeros: Tensor, scales: Tensor, g_idx: Tensor | None = None) -> W4:
    """Return the weight from a GPTQ v1 checkpoint; an act-order `g_idx` [in] becomes a permutation of the inputs."""
    zeros = (unpack_nibbles(qzeros, 1) + 1) & 15
    symmetric = bool((zeros == 8).all())
    group_size = qweight.shape[0] * 8 // scales.shape[0]
    in_order = torch.arange(qweight.shape[0] * 8, device=qweight.device) // group_size
    permutation = None
    if g_idx is not None and not torch.equal(g_idx.long(), in_order):
        permutation = torch.argsort(g_idx.long(), stable=True)
        qweight = pack_weight(unpack_weight(qweight, "gptq")[:, permutation], "gptq")
    return W4("gptq", qweight, scales, None if symmetric else zeros, permutation)


def from_awq(qweight: Tensor, qzeros: Tensor, scales: Tensor) -> W4:
    """Return the weight from an AWQ "gemm" checkpoint."""
    return W4("awq", qweight, scales, unpack_nibbles(qzeros, 1, AWQ_ORDER))


def from_compressed_tensors(weight_packed: Tensor, weight_scale: Tensor, zero_point: Tensor | None = None) -> W4:
    """Return the weight from a `pack-quantized` checkpoint; weight_scale is [out, in / g]."""
    zeros = None if zero_point is None else unpack_nibbles(zero_point, 0).T
    return W4("compressed-tensors", weight_packed, weight_scale.T, zeros)


def repack(weight: W4, layout: str) -> W4:
    """Return the weight in another layout, such as `fragments` for the CUDA kernel; do this once, at load time."""
    qweight = pack_weight(unpack_weight(weight.qweight, weight.layout), layout)
    zeros = None if weight.zeros is None else weight.zeros.contiguous()
    return W4(layout, qweight, weight.scales.contiguous(), zeros, weight.permutation)


def dequantize(weight: W4) -> Tensor:
    """Return [out, in] in the scales' dtype, columns in the kernel's order."""
    values = unpack_weight(weight.qweight, weight.layout)
    group_size = values.shape[1] // weight.scales.shape[0]
    zeros = torch.full_like(weight.scales, 8) if weight.zeros is None else weight.zeros.to(weight.scales.dtype)
    spread = (t.T.repeat_interleave(group_size, dim=1) for t in (zeros, weight.scales))
    zero, scale = spread
    return (values.to(scale.dtype) - zero) * scale
