"""Formats by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from llm_quantize.algorithms.grid import Grid, QuantizedWeight
from llm_quantize.errors import ModelError
from llm_quantize.formats import awq, compressed_tensors, gptq
from llm_quantize.settings import Recipe


class Format(Protocol):
    """A format: each of its modules has these names."""

    NAME: str
    STORED_TYPE: torch.dtype | None

    def write(self, weight: QuantizedWeight, inputs: str | None = None) -> dict[str, Tensor]: ...
    def read(self, tensors: dict[str, Tensor], grid: Grid) -> QuantizedWeight | None: ...
    def config(self, recipe: Recipe, kept: Sequence[str]) -> dict[str, Any]: ...
    def grid_of(self, config: dict[str, Any]) -> tuple[Grid, str | None]: ...


FORMATS: dict[str, Format] = {module.NAME: module for module in (compressed_tensors, gptq, awq)}


def format_of(config: dict[str, Any]) -> Format:
    """Return the format of a `quantization_config`. ModelError if it is none of ours."""
    method = config.get("quant_method")
    if method not in FORMATS:
        raise ModelError(f"quantised weights of kind {method!r} are not read; known: {', '.join(FORMATS)}")
    return FORMATS[method]


def split_layers(tensors: dict[str, Tensor], fmt: Format, grid: Grid) -> dict[str, QuantizedWeight]:
    """Take the quantised layers' tensors out of `tensors`, and return their weights by the layers' names."""
    layers: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        layer, _, suffix = name.rpartition(".")
        layers.setdefault(layer, {})[suffix] = tensor
    found = {}
    for layer, parts in layers.items():
        weight = fmt.read(parts, grid)
        if weight is not None:
            found[layer] = weight
            for suffix in parts.keys() - {"bias"}:
                del tensors[f"{layer}.{suffix}"]
    return found
