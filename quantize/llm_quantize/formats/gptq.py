"""GPTQ's first format, as AutoGPTQ wrote it and vLLM loads it.

    qweight int32 [in / per word, out]   qzeros int32 [groups, out / per word], zero - 1   scales float16 [groups, out]
    g_idx int32 [in], the group of each input

The stored zero point is one less than the real one, so a real zero of 0 would overflow into its neighbour: symmetric
weights only, whose zero is the middle.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from llm_kernels.words import pack_words, unpack_words
from llm_quantize.algorithms.grid import Grid, QuantizedWeight
from llm_quantize.settings import Recipe

NAME = "gptq"
STORED_TYPE: torch.dtype | None = torch.float16


def write(weight: QuantizedWeight, inputs: str | None = None) -> dict[str, Tensor]:
    """Return a layer's tensors by their suffix."""
    bits, count = weight.grid.bits, weight.codes.shape[1]
    assert weight.zeros is not None
    return {
        "qweight": pack_words(weight.codes.T, bits, 0),
        "qzeros": pack_words(weight.zeros.T - 1, bits, 1),
        "scales": weight.scales.T.contiguous(),
        "g_idx": (torch.arange(count) // weight.grid.width(count)).int(),
    }


def read(tensors: dict[str, Tensor], grid: Grid) -> QuantizedWeight | None:
    """Return the weight of a layer's tensors, or None if it is not quantised."""
    if "qweight" not in tensors:
        return None
    inputs, out = len(tensors["g_idx"]), tensors["scales"].shape[1]
    codes = unpack_words(tensors["qweight"], grid.bits, 0, inputs).T.contiguous()
    zeros = unpack_words(tensors["qzeros"], grid.bits, 1, out).T + 1
    return QuantizedWeight(codes, tensors["scales"].T.contiguous(), zeros.contiguous(), grid)


def config(recipe: Recipe, kept: Sequence[str]) -> dict[str, Any]:
    """Return config.json's `quantization_config`."""
    return {
        "quant_method": NAME,
        "bits": recipe.bits,
        "group_size": recipe.group_size,
        "sym": True,
        "desc_act": False,
        "lm_head": False,
        "checkpoint_format": "gptq",
    }


def grid_of(config: dict[str, Any]) -> tuple[Grid, str | None]:
    """Return the grid of a `quantization_config`; inputs are not rounded."""
    return Grid(config["bits"], config["group_size"]), None
