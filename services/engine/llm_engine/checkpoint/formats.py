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
        from llm_kernels.layouts import unpack_nibbles, unpack_weight

        words = self._get("qweight", _words(self._in), self._out)
        zeros = unpack_nibbles(self._get("qzeros", self._num_groups, _words(self._out)), 1)
        zeros = (zeros + self._scheme.zero_offset) & 15
        scales = self._get("scales", self._num_groups, self._out)
        return self._weight(unpack_weight(words, "gptq"), scales.T, zeros.T, self._groups("g_idx"))

    def awq(self) -> QuantizedWeight:
        from llm_kernels.layouts import AWQ_ORDER, unpack_nibbles, unpack_weight

        words = self._get("qweight", self._in, _words(self._out))
        zeros = unpack_nibbles(self._get("qzeros", self._num_groups, _words(self._out)), 1, AWQ_ORDER)
        scales = self._get("scales", self._num_groups, self._out)
        return self._weight(unpack_weight(words, "awq"), scales.T, zeros.T, None)

    def packed(self) -> QuantizedWeight:
        from llm_kernels.layouts import unpack_nibbles, unpack_weight

        values = unpack_weight(self._get("weight_packed", self._out, _words(self._in)), "compressed-tensors")
        scales = self._get("weight_scale", self._out, self._num_groups)
        if self._scheme.has_zero_points:
            zeros = unpack_nibbles(self._get("weight_zero_point", _words(self._out), self._num_groups), 0)
        else:
            zeros = torch.full_like(scales, 8, dtype=torch.uint8)
        return self._weight(values[:, : self._in], scales, zeros[: self._out], self._groups("weight_g_idx"))

    def channels(self) -> QuantizedWeight:
        """Read 8-bit values with one scale per output channel."""
        values, wanted = self._get("weight", self._out, self._in), self._scheme.value_type
        if values.dtype is not wanted:
            raise ModelError(f"{self._name}.weight is {values.dtype}, but quantization_config asks for {wanted}")
        return self._weight(values, self._get("weight_scale", self._out, 1), None, None)

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


def _words(count: int) -> int:
    """Return how many int32 words hold `count` nibbles."""
    return -(-count // 8)
