"""Any model folder, quantised or not, as a model of transformers that computes what an engine computes.

Weights are what their codes stand for. Where an engine rounds inputs as well (W8A8, FP8), hooks round them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM

from llm_quantize.algorithms.activations import round_fp8, round_int8
from llm_quantize.checkpoint import Checkpoint, read_json
from llm_quantize.errors import ModelError
from llm_quantize.formats.registry import format_of, split_layers

if TYPE_CHECKING:
    from transformers import PreTrainedModel

ROUND = {"int8": round_int8, "fp8": round_fp8}


def load_dequantized(folder: Path, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    """Return the model in `folder`. ModelError if it is of a kind that is not read."""
    given = read_json(folder / "config.json").get("quantization_config")
    if given is None:
        return AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, local_files_only=True).eval()
    fmt = format_of(given)
    grid, inputs = fmt.grid_of(given)
    checkpoint = Checkpoint(folder)
    tensors = {name: checkpoint.get(name) for name in checkpoint.names}
    weights = split_layers(tensors, fmt, grid)
    tensors |= {f"{name}.weight": weight.dequantize() for name, weight in weights.items()}
    model = _filled(folder, tensors, dtype)
    if inputs is not None:
        for name in weights:
            model.get_submodule(name).register_forward_pre_hook(_rounder(inputs))
    return model


def _filled(folder: Path, tensors: dict[str, Tensor], dtype: torch.dtype) -> PreTrainedModel:
    """Return the folder's model, unquantised, with these weights; a KV cache's scales are left out."""
    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    del config.quantization_config
    model = AutoModelForCausalLM.from_config(config, dtype=dtype).eval()
    wanted = model.state_dict().keys()
    kept = {name: tensor.to(dtype) for name, tensor in tensors.items() if name in wanted}
    missing = wanted - kept.keys() - {"lm_head.weight"}
    if missing:
        raise ModelError(f"{folder}: the weights lack {min(missing)}")
    model.load_state_dict(kept, strict=False)
    model.tie_weights()
    return model


def _rounder(inputs: str) -> Callable[[Any, tuple[Any, ...]], tuple[Any, ...]]:
    return lambda _, arguments: (ROUND[inputs](arguments[0]), *arguments[1:])
