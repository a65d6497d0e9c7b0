"""Weights of linear layers, laid out for the CPU kernels: `panels.hpp` explains how.

pack         float32, or 16 bits if that loses nothing
pack_int8    one scale per output; inputs as they are, or rounded to 8 bits row by row
pack_fp8     the same for values of e4m3, which are kept in 16 bits
pack_int4    scales and zero points per group of inputs
pack_int8_groups   the same for 8 bits, with inputs as they are
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum

import torch
import torch.nn.functional as F
from torch import Tensor

from llm_kernels.cpu import memory
from llm_kernels.cpu.library import LinearStruct, function, pointer
from llm_kernels.errors import UnsupportedInput
from llm_kernels.layouts import pack_nibbles

WORD = 8
"""Inputs of a word of 4-bit weights: a group is a multiple of them, also of 8 bits."""


class Type(IntEnum):
    """The type of a panel's weights, in the order of `Type` in kernels.hpp."""

    FLOAT32 = 0
    BFLOAT16 = 1
    INT8 = 2
    INT4 = 3


class Rounding(IntEnum):
    """How each row of inputs is rounded before the product, with one scale per row."""

    NONE = 0
    INT8 = 1
    E4M3 = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedWeight:
    panels: Tensor
    out_features: int
    in_features: int
    type: Type
    scales: Tensor | None = None
    """[out] float32; results are multiplied by them."""
    order: Tensor | None = None
    """[in] int64: input i of the panels is the caller's input order[i]; None: as they are."""
    group_size: int = 0
    """Number of inputs that share a scale; 0: all of them, by `scales`."""
    has_zeros: bool = False
    rounding: Rounding = Rounding.NONE

    @property
    def panel_width(self) -> int:
        return int(function("panel_width")())

    def struct(self, bias: Tensor | None) -> LinearStruct:
        """Return the C structure, whose pointers need this weight and `bias` to stay alive."""
        return LinearStruct(
            self.panels.data_ptr(), pointer(bias), pointer(self.scales), pointer(self.order), self.out_features,
            self.in_features, self.type, self.group_size, self.has_zeros, self.rounding,
        )  # fmt: skip


def pack(weight: Tensor) -> PackedWeight:
    """Lay out `weight` [out, in] float32 for `linear`, in 16 bits if that loses nothing."""
    weight = weight.contiguous()
    rows, columns = weight.shape
    halves = bool((weight.view(torch.int32) & 0xFFFF == 0).all())
    width = function("panel_width")()
    shape = (-(-rows // width), -(-columns // 2), width, 2) if halves else (-(-rows // width), columns, width)
    panels = memory.empty(shape, torch.int16 if halves else torch.float32)
    function("pack_bfloat16" if halves else "pack_float32")(weight.data_ptr(), panels.data_ptr(), rows, columns)
    return PackedWeight(
        panels=panels, out_features=rows, in_features=columns, type=Type.BFLOAT16 if halves else Type.FLOAT32
    )


def pack_int8(values: Tensor, scales: Tensor, *, rounds_inputs: bool) -> PackedWeight:
    """Lay out values [out, in] int8 and scales [out] float32; an output is x times its values, times its scale.

    `rounds_inputs`: round each row of x to int8 first, by its largest magnitude / 127, and multiply integers.
    """
    rows, columns = values.shape
    return PackedWeight(
        panels=memory.placed(_lines(_padded(values, 4).view(torch.int32))),
        out_features=rows,
        in_features=columns,
        type=Type.INT8,
        scales=scales.contiguous(),
        rounding=Rounding.INT8 if rounds_inputs else Rounding.NONE,
    )


def pack_fp8(values: Tensor, scales: Tensor, *, rounds_inputs: bool) -> PackedWeight:
    """Lay out values [out, in] of float8_e4m3fn and scales [out] float32; inputs are rounded to e4m3 if asked."""
    rounding = Rounding.E4M3 if rounds_inputs else Rounding.NONE
    return replace(pack(values.float()), scales=scales.contiguous(), rounding=rounding)


def pack_int4(
    values: Tensor, scales: Tensor, zeros: Tensor | None, group_size: int, order: Tensor | None = None
) -> PackedWeight:
    """Lay out values [out, in] of 0 to 15; weight[n, k] = (values[n, k] - zeros[n, k / g]) * scales[n, k / g].

    scales [out, groups] float32; zeros [out, groups] integers, or None: 8. The last group can be short. `order` [in]
    permutes the caller's inputs. UnsupportedInput unless the group size is a multiple of 8.
    """
    groups = _Groups(Type.INT4, tuple(values.shape), scales, None if zeros is None else zeros.float() - 8, group_size)
    return groups.pack(pack_nibbles(_padded(values ^ 8, group_size), 1), order)  # two's complement of value - 8


def pack_int8_groups(
    values: Tensor, scales: Tensor, zeros: Tensor | None, group_size: int, order: Tensor | None = None
) -> PackedWeight:
    """Do the same as `pack_int4` for int8 values; zeros None: 0."""
    groups = _Groups(Type.INT8, tuple(values.shape), scales, None if zeros is None else zeros.float(), group_size)
    return groups.pack(_padded(values, group_size).view(torch.int32), order)


@dataclass(frozen=True, slots=True)
class _Groups:
    """Scales and zero points of a weight [out, in], to be laid out before the words of each group."""

    type: Type
    shape: tuple[int, ...]
    scales: Tensor
    zeros: Tensor | None
    size: int

    def __post_init__(self) -> None:
        rows, columns = self.shape
        if self.size % WORD or self.scales.shape != (rows, -(-columns // self.size)):
            raise UnsupportedInput(
                f"weight [{rows}, {columns}] with scales {tuple(self.scales.shape)} in groups of {self.size}; "
                f"the kernels for the CPU take groups of a multiple of {WORD} inputs"
            )

    def pack(self, words: Tensor, order: Tensor | None) -> PackedWeight:
        """Return the weight of words [out, in / per word] int32, both filled up to whole panels and groups."""
        rows, columns = self.shape
        per_word = 1 << self.type
        per_group = [self.scales] if self.zeros is None else [self.scales, self.zeros]
        heads = [_lines(_padded(t.float(), 1).view(torch.int32)).unsqueeze(2) for t in per_group]
        bodies = _lines(words)
        count = self.scales.shape[1]
        bodies = bodies.view(len(bodies), count, self.size // per_word, -1)
        lines = torch.cat([*heads, bodies], dim=2).flatten(1, 2)
        return PackedWeight(
            panels=memory.placed(lines[:, : count * len(heads) + -(-columns // per_word)]),
            out_features=rows,
            in_features=columns,
            type=self.type,
            order=None if order is None else order.contiguous(),
            group_size=self.size,
            has_zeros=self.zeros is not None,
        )


def _padded(x: Tensor, columns: int) -> Tensor:
    """Fill [out, in] with zeros up to whole panels of outputs and a multiple of `columns` inputs."""
    rows = -len(x) % function("panel_width")()
    return F.pad(x, (0, -x.shape[1] % columns, 0, rows)).contiguous()


def _lines(words: Tensor) -> Tensor:
    """Lay 16 outputs next to each other: [out, n] -> [out / 16, n, 16]."""
    width = function("panel_width")()
    return words.view(len(words) // width, width, -1).transpose(1, 2).contiguous()
