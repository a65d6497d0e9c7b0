"""AWQ's format "gemm", as AutoAWQ wrote it and vLLM loads it: 4 bits, asymmetric.

    qweight int32 [in, out / 8]   qzeros int32 [groups, out / 8]   scales float16 [groups, out]

Nibble i of a word holds output 8 c + [0, 2, 4, 6, 1, 3, 5, 7][i].
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from llm_kernels.layouts import AWQ_ORDER, pack_nibbles, pack_weight, unpack_nibbles, unpack_weight
from llm_quantize.algorithms.grid import Grid, QuantizedWeight
from llm_quantize.settings import Recipe

NAME = "awq"
STORED_TYPE: torch.dtype | None = torch.float16


def write(weight: QuantizedWeight, inputs: str | None = None) -> dict[str, Tensor]:
    """Return a layer's tensors by their suffix."""
    assert weight.zeros is not None
    return {
        "qweight": pack_weight(weight.codes, "awq"),
        "qzeros": pack_nibbles(weight.zeros.T, 1, AWQ_ORDER),
        "scales": weight.scales.T.contiguous(),
    }


def read(tensors: dict[str, Tensor], grid: Grid) -> QuantizedWeight | None:
    """Return the weight of a layer's tensors, or None if it is not quantised."""
    if "qweight" not in tensors:
        return None
    codes = unpack_weight(tensors["qweight"], "awq")
    zeros = unpack_nibbles(tensors["qzeros"], 1, AWQ_ORDER).T.contiguous()
    return QuantizedWeight(codes, tensors["scales"].T.contiguous(), zeros, grid)


def config(recipe: Recipe, kept: Sequence[str]) -> dict[str, Any]:
    """Return config.json's `quantization_config`; `kept` names the layers that are not quantised."""
    return {
        "quant_method": NAME,
        "bits": 4,
        "group_size": recipe.group_size,
        "zero_point": True,
        "version": "gemm",
        "modules_to_not_convert": list(kept) or None,
    }


def grid_of(config: dict[str, Any]) -> tuple[Grid, str | None]:
    """Return the grid of a `quantization_config`; inputs are not rounded."""
    return Grid(4, config["group_size"], symmetric=False), None
