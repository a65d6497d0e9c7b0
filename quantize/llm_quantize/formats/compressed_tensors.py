"""compressed-tensors, vLLM's own format.

    pack-quantized    weight_packed int32 [out, in / per word]   weight_scale [out, groups]   weight_shape int64 [2]
                      weight_zero_point int32 [out / per word, groups], unless symmetric
    int-quantized     weight int8 [out, in]                      weight_scale [out, 1]
    float-quantized   weight float8_e4m3fn [out, in]             weight_scale [out, 1]

Symmetric codes are stored without zero points: as unsigned numbers with the middle as zero when they are packed, as
signed numbers when not. A KV cache's scales are `k_scale` and `v_scale` of `self_attn`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from llm_kernels.words import pack_words, unpack_words
from llm_quantize.algorithms.grid import Grid, QuantizedWeight
from llm_quantize.settings import Recipe

NAME = "compressed-tensors"
STORED_TYPE: torch.dtype | None = None
"""Type of scales and of all that is not quantised; None: the model's own."""


def write(weight: QuantizedWeight, inputs: str | None = None) -> dict[str, Tensor]:
    """Return a layer's tensors by their suffix; with rounded `inputs` a weight of 8 bits is not packed."""
    grid = weight.grid
    if weight.zeros is None:
        return {"weight": weight.codes, "weight_scale": weight.scales}
    if inputs is not None:
        signed = weight.codes.to(torch.int16) - grid.middle
        return {"weight": signed.to(torch.int8), "weight_scale": weight.scales}
    tensors = {
        "weight_packed": pack_words(weight.codes, grid.bits, 1),
        "weight_scale": weight.scales,
        "weight_shape": torch.tensor(weight.codes.shape),
    }
    if not grid.symmetric:
        tensors["weight_zero_point"] = pack_words(weight.zeros, grid.bits, 0)
    return tensors


def read(tensors: dict[str, Tensor], grid: Grid) -> QuantizedWeight | None:
    """Return the weight of a layer's tensors, or None if it is not quantised."""
    if "weight_packed" in tensors:
        out, inputs = (int(size) for size in tensors["weight_shape"])
        codes = unpack_words(tensors["weight_packed"], grid.bits, 1, inputs)
        scales = tensors["weight_scale"]
        zeros = torch.full(scales.shape, grid.middle, dtype=torch.uint8)
        if "weight_zero_point" in tensors:
            zeros = unpack_words(tensors["weight_zero_point"], grid.bits, 0, out)
        return QuantizedWeight(codes, scales, zeros, grid)
    if "weight_scale" not in tensors:
        return None
    codes, scales = tensors["weight"], tensors["weight_scale"]
    if codes.dtype is not torch.int8:
        return QuantizedWeight(codes, scales, None, grid)
    unsigned = (codes.to(torch.int16) + grid.middle).to(torch.uint8)
    return QuantizedWeight(unsigned, scales, torch.full(scales.shape, grid.middle, dtype=torch.uint8), grid)


def config(recipe: Recipe, kept: Sequence[str]) -> dict[str, Any]:
    """Return config.json's `quantization_config`; `kept` names the layers that are not quantised."""
    kind = "float" if recipe.inputs == "fp8" else "int"
    is_grouped = recipe.group_size > 0
    common = {"num_bits": recipe.bits, "type": kind}
    weights = common | {
        "symmetric": recipe.symmetric,
        "strategy": "group" if is_grouped else "channel",
        "group_size": recipe.group_size if is_grouped else None,
        "dynamic": False,
        "actorder": None,
    }
    inputs = common | {"symmetric": True, "strategy": "token", "dynamic": True}
    cache = {"num_bits": 8, "type": "float", "symmetric": True, "strategy": "tensor", "dynamic": False}
    return {
        "quant_method": NAME,
        "format": "pack-quantized" if recipe.inputs is None else f"{kind}-quantized",
        "quantization_status": "compressed",
        "ignore": ["lm_head", *kept],
        "kv_cache_scheme": cache if recipe.kv_cache else None,
        "config_groups": {
            "group_0": {
                "targets": ["Linear"],
                "weights": weights,
                "input_activations": inputs if recipe.inputs else None,
                "output_activations": None,
            }
        },
    }


def grid_of(config: dict[str, Any]) -> tuple[Grid, str | None]:
    """Return the grid of a `quantization_config`, and the type to which inputs are rounded."""
    group = config["config_groups"]["group_0"]
    weights, inputs = group["weights"], group["input_activations"]
    grid = Grid(weights["num_bits"], weights.get("group_size") or -1, weights.get("symmetric", True))
    return grid, None if inputs is None else "fp8" if inputs["type"] == "float" else "int8"
