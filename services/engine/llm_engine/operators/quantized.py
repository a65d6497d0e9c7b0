"""Linear layers with quantised weights: kernels that read packed weights, and a reference in plain torch.

A weight of any format is represented by values, scales and zero points:

    weight[n, k] = (values[n, k] - zeros[n, groups[k]]) * scales[n, groups[k]]

In this form a weight can be split and joined along both dimensions like a tensor, because each input has its group.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from llm_engine.errors import ModelError
from llm_engine.operators.linear import Linear, make_linear

if TYPE_CHECKING:
    from llm_kernels.cpu import PackedLinear
    from llm_kernels.layouts import W4

LARGEST = {torch.int8: 127.0, torch.float8_e4m3fn: 448.0}
"""Largest value of each 8-bit type."""


@dataclass(frozen=True, slots=True)
class QuantizedWeight:
    """A quantised weight of any format."""

    values: Tensor
    """[out, in] uint8 with 4-bit values, int8 or float8_e4m3fn."""
    scales: Tensor
    """[out, groups] float32"""
    groups: Tensor
    """[in] int64: the group of each input."""
    zeros: Tensor | None = None
    """[out, groups] uint8 or, as the values, int8; None: 0."""
    rounds_inputs: bool = False
    """Whether inputs are quantised to the values' type before the multiplication, with one scale per token."""

    @property
    def shape(self) -> torch.Size:
        return self.values.shape

    def narrow(self, dim: int, start: int, length: int) -> QuantizedWeight:
        """Return a part of the weight, like `Tensor.narrow`."""
        values = self.values.narrow(dim, start, length)
        if dim == 1:
            return replace(self, values=values, groups=self.groups.narrow(0, start, length))
        zeros = None if self.zeros is None else self.zeros.narrow(0, start, length)
        return replace(self, values=values, scales=self.scales.narrow(0, start, length), zeros=zeros)

    def dequantize(self) -> Tensor:
        """Return the weight in full precision: [out, in] float32."""
        values = self.values.float()
        if self.zeros is not None:
            values -= self.zeros.float()[:, self.groups]
        return values.mul_(self.scales[:, self.groups])


Weight = Tensor | QuantizedWeight


def join(weights: Sequence[Weight]) -> Weight:
    """Stack weights along the outputs. They are dequantised if they group their inputs differently.

    ModelError if only some of them quantise their inputs.
    """
    tensors = [weight for weight in weights if isinstance(weight, Tensor)]
    quantized = [weight for weight in weights if isinstance(weight, QuantizedWeight)]
    if not quantized:
        return torch.cat(tensors)
    if not tensors and all(torch.equal(weight.groups, quantized[0].groups) for weight in quantized):
        zeros = [weight.zeros for weight in quantized if weight.zeros is not None]
        return replace(
            quantized[0],
            values=torch.cat([weight.values for weight in quantized]),
            scales=torch.cat([weight.scales for weight in quantized]),
            zeros=torch.cat(zeros) if zeros else None,
        )
    if any(weight.rounds_inputs for weight in quantized):
        raise ModelError(
            "some projections quantise their inputs, but others that read the same inputs do not; quantise all or none"
        )
    return torch.cat([weight if isinstance(weight, Tensor) else weight.dequantize() for weight in weights])


def quantized_linear(weight: QuantizedWeight, bias: Tensor | None, dtype: torch.dtype, backend: str) -> Linear:
    """Make a linear layer of a quantised weight: a kernel of `backend` if it can read the weight, else a reference."""
    if backend == "cpp":
        return cpu_linear(weight, bias) or make_linear(weight.dequantize().to(dtype), bias, backend)
    kernels = backend == "triton"
    if weight.rounds_inputs:
        return KernelW8A8.of(weight, bias) if kernels else RoundedInputs.of(weight, bias)
    packed = KernelW4A16.of(weight, bias, dtype) if kernels and weight.values.dtype is torch.uint8 else None
    return packed or make_linear(weight.dequantize().to(dtype), bias, "torch")


def cpu_linear(weight: QuantizedWeight, bias: Tensor | None) -> PackedLinear | None:
    """Pack a quantised weight for the CPU's kernels; None if its groups cannot be divided into words of 8 inputs."""
    from llm_kernels import cpu

    values, zeros, is_int4 = weight.values, weight.zeros, weight.values.dtype is torch.uint8
    if zeros is not None and bool((zeros == (8 if is_int4 else 0)).all()):
        zeros = None  # the middle, which kernels know
    if not is_int4 and zeros is None and weight.scales.shape[1] == 1:
        pack = cpu.pack_int8 if values.dtype is torch.int8 else cpu.pack_fp8
        return cpu.PackedLinear(pack(values, weight.scales.squeeze(1), rounds_inputs=weight.rounds_inputs), bias)
    order = weight.groups.argsort(stable=True)
    used, sizes = torch.unique_consecutive(weight.groups[order], return_counts=True)
    ends = sizes.cumsum(0)
    # Sections as long as a group, or shorter: a rank's part can begin or end in the middle of a group.
    size = math.gcd(*ends[:-1].tolist()) if len(used) > 1 else -(-len(order) // cpu.WORD) * cpu.WORD
    if size % cpu.WORD:
        return None
    sections = used[torch.searchsorted(ends, torch.arange(0, len(order), size), right=True)]
    packed = (cpu.pack_int4 if is_int4 else cpu.pack_int8_groups)(
        values[:, order],
        weight.scales[:, sections],
        None if zeros is None else zeros[:, sections],
        size,
        None if bool((order.diff() == 1).all()) else order,
    )
    return cpu.PackedLinear(packed, bias)


@dataclass(frozen=True, slots=True)
class RoundedInputs:
    """The reference of W8A8: multiply quantised values, held as floats, then apply both scales.

    If several ranks share a layer's inputs, each rank quantises its own part, as in vLLM.
    """

    linear: Linear
    scales: Tensor
    """[out] float32"""
    bias: Tensor | None
    type: torch.dtype

    @classmethod
    def of(cls, weight: QuantizedWeight, bias: Tensor | None) -> RoundedInputs:
        return cls(make_linear(weight.values.float()), weight.scales.squeeze(1), bias, weight.values.dtype)

    def __call__(self, x: Tensor) -> Tensor:
        largest = LARGEST[self.type]
        scales = (x.float().abs().amax(dim=-1, keepdim=True) / largest).clamp_(min=torch.finfo(torch.float32).tiny)
        scaled = (x / scales).clamp_(-largest, largest)
        rounded = scaled.round_() if self.type is torch.int8 else scaled.to(self.type).float()
        out = self.linear(rounded) * scales * self.scales
        return (out if self.bias is None else out + self.bias).to(x.dtype)


@dataclass(frozen=True, slots=True)
class KernelW8A8:
    """W8A8 through kernels: 8-bit weights and 8-bit inputs."""

    values: Tensor
    scales: Tensor
    """[out] float32"""
    bias: Tensor | None

    @classmethod
    def of(cls, weight: QuantizedWeight, bias: Tensor | None) -> KernelW8A8:
        return cls(weight.values.contiguous(), weight.scales.squeeze(1).contiguous(), bias)

    def __call__(self, x: Tensor) -> Tensor:
        from llm_kernels import ops

        values, scales = ops.quantize_per_token(x, self.values.dtype)
        out: Tensor = ops.scaled_gemm(values, self.values, scales, self.scales, x.dtype)
        return out if self.bias is None else out.add_(self.bias)


@dataclass(frozen=True, slots=True)
class KernelW4A16:
    """W4A16 through kernels: 4-bit weights and 16-bit inputs."""

    packed: W4
    bias: Tensor | None

    @classmethod
    def of(cls, weight: QuantizedWeight, bias: Tensor | None, dtype: torch.dtype) -> KernelW4A16 | None:
        """Pack the weight, or return None if the kernels cannot read it: they need whole groups of one size."""
        from llm_kernels import layouts

        assert weight.zeros is not None
        order = weight.groups.argsort(stable=True)
        used, sizes = torch.unique(weight.groups, return_counts=True)
        out, inputs = weight.shape
        if len(torch.unique(sizes)) > 1 or inputs % 8:
            return None
        fits = out % layouts.TILE_N == 0 and sizes[0] % layouts.TILE_K == 0
        values = weight.values[:, order]
        zeros = weight.zeros[:, used]
        return cls(
            layouts.W4(
                layout := "fragments" if fits else "compressed-tensors",
                layouts.pack_weight(values, layout),
                weight.scales[:, used].T.to(dtype).contiguous(),
                None if bool((zeros == 8).all()) else zeros.T.contiguous(),
                None if bool((order.diff() == 1).all()) else order,
            ),
            bias,
        )

    def __call__(self, x: Tensor) -> Tensor:
        from llm_kernels import ops

        weight = self.packed
        if weight.permutation is not None:
            x = x[:, weight.permutation]
        out: Tensor = ops.w4a16_gemm(x, weight.qweight, weight.scales, weight.zeros, weight.layout)
        return out if self.bias is None else out.add_(self.bias)
