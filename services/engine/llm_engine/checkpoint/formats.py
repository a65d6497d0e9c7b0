"""Readers of quantised weights: from each format's tensors to one form. `llm_kernels.layouts` explains the layouts."""

from __future__ import annotations

import torch
from torch import Tensor

from llm_engine.checkpoint.quantization import Quantization
from llm_engine.checkpoint.source import Source
from llm_engine.errors import ModelError
from llm_engine.operators.quantized import QuantizedWeight


def read_quantized(
    source: Source, scheme: Quantization, name: str, out_features: int, *, in_features: int
) -> QuantizedWeight | None:
    """Return the weight of the projection `name`, or None if the checkpoint does not quantise it."""
    group_size = in_features if scheme.group_size == -1 else scheme.group_size
    reader = _Reader(source, scheme, name, out_features=out_features, in_features=in_features, group_size=group_size)
    if f"{name}.qweight" in source:
        return reader.gptq() if scheme.method == "gptq" else reader.awq()
    if f"{name}.weight_packed" in source:
        return reader.packed()
    return reader.channels() if f"{name}.weight_scale" in source else None


class _Reader:
    def __init__(
        self, source: Source, scheme: Quantization, name: str, *, out_features: int, in_features: int, group_size: int
    ) -> None:
        self._source = source
        self._scheme = scheme
        self._name = name
        self._out = out_features
        self._in = in_features
        self._group_size = group_size
        self._num_groups = -(-in_features // group_size)

    def gptq(self) -> QuantizedWeight:
        codes = self._codes("qweight", 0, self._in, self._out).T
        zeros = self._codes("qzeros", 1, self._out, self._num_groups).T + self._scheme.zero_offset
        scales = self._get("scales", self._num_groups, self._out)
        return self._packed(codes, scales.T, zeros & self._scheme.largest_code, self._groups("g_idx"))

    def awq(self) -> QuantizedWeight:
        from llm_kernels.layouts import AWQ_ORDER, unpack_nibbles, unpack_weight
        from llm_kernels.words import num_words

        words = self._get("qweight", self._in, num_words(self._out, 4))
        zeros = unpack_nibbles(self._get("qzeros", self._num_groups, num_words(self._out, 4)), 1, AWQ_ORDER)
        scales = self._get("scales", self._num_groups, self._out)
        return self._packed(unpack_weight(words, "awq"), scales.T, zeros.T, None)

    def packed(self) -> QuantizedWeight:
        scales = self._get("weight_scale", self._out, self._num_groups)
        if self._scheme.has_zero_points:
            zeros = self._codes("weight_zero_point", 0, self._out, self._num_groups)
        else:
            zeros = torch.full_like(scales, self._scheme.middle, dtype=torch.uint8)
        codes = self._codes("weight_packed", 1, self._in, self._out)
        return self._packed(codes, scales, zeros, self._groups("weight_g_idx"))

    def channels(self) -> QuantizedWeight:
        """Read 8-bit values with one scale per output channel."""
        values = self._get("weight", self._out, self._in)
        wanted = torch.float8_e4m3fn if self._scheme.is_float else torch.int8
        if values.dtype is not wanted:
            raise ModelError(f"{self._name}.weight is {values.dtype}, but quantization_config asks for {wanted}")
        return self._weight(values, self._get("weight_scale", self._out, 1), None, None)

    def _packed(self, codes: Tensor, scales: Tensor, zeros: Tensor, groups: Tensor | None) -> QuantizedWeight:
        """Return the weight of unsigned codes: as 4-bit values if they have 4 bits or fewer, else as int8.

        Only the difference between a code and its zero point counts, so codes of 2 and 3 bits are moved up until their
        middle is that of 4 bits, and codes of 8 bits are moved down until theirs is 0.
        """
        middle = self._scheme.middle
        if self._scheme.bits == 8:
            return self._weight((codes ^ middle).view(torch.int8), scales, (zeros ^ middle).view(torch.int8), groups)
        return self._weight(codes + (8 - middle), scales, zeros + (8 - middle), groups)

    def _codes(self, tensor: str, dim: int, count: int, others: int) -> Tensor:
        """Return `count` codes along `dim` of a tensor of packed words, uint8."""
        from llm_kernels.words import num_words, unpack_words

        words = num_words(count, self._scheme.bits)
        packed = self._get(tensor, *((words, others) if dim == 0 else (others, words)))
        return unpack_words(packed, self._scheme.bits, dim, count)

    def _weight(self, values: Tensor, scales: Tensor, zeros: Tensor | None, groups: Tensor | None) -> QuantizedWeight:
        if groups is None:
            groups = torch.arange(self._in, device=values.device) // self._group_size
        zeros = None if zeros is None else zeros.contiguous()
        return QuantizedWeight(values, scales.float().contiguous(), groups, zeros, self._scheme.rounds_inputs)

    def _groups(self, tensor: str) -> Tensor | None:
        """Return the group of each input under act-order; None if groups are consecutive inputs."""
        if f"{self._name}.{tensor}" not in self._source:
            return None
        groups = self._get(tensor, self._in).long()
        if groups.min() < 0 or groups.max() >= self._num_groups:
            raise ModelError(f"{self._name}.{tensor} has groups outside 0 to {self._num_groups - 1}")
        return groups

    def _get(self, tensor: str, *shape: int) -> Tensor:
        return self._source.get(f"{self._name}.{tensor}", *shape, raw=True)
