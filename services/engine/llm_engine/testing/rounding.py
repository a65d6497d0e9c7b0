"""Small checkpoints, quantised by plain rounding in every format that the engine loads, and their dequantised weights.

    dequantized = round_model(Path("models/main"), Path("out/gptq"), "gptq")

Nothing is calibrated: the checkpoints are for tests of loading, not for use.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from llm_kernels.layouts import AWQ_ORDER, pack_nibbles, pack_weight

Tensors = dict[str, Tensor]
Rounded = tuple[Tensors, Tensor]
"""Tensors by suffix, such as `qweight`, and the dequantised weight [out, in] float32."""


def round_model(source: Path, target: Path, name: str, group_size: int = 32) -> Tensors:
    """Quantise the projections of the model at `source` in the format `name` of FORMATS, and write it to `target`.

    Return all weights by name, dequantised.
    """
    round_weight, quantization = FORMATS[name]
    shutil.copytree(source, target)
    config = json.loads((target / "config.json").read_text())
    config["quantization_config"] = quantization(group_size)
    (target / "config.json").write_text(json.dumps(config))
    written: Tensors = {}
    meant: Tensors = {}
    for key, tensor in load_file(target / "model.safetensors").items():
        if not key.endswith("_proj.weight"):
            written[key] = meant[key] = tensor
            continue
        tensors, meant[key] = round_weight(tensor.float(), group_size)
        written |= {key.removesuffix("weight") + suffix: t.contiguous() for suffix, t in tensors.items()}
    save_file(written, target / "model.safetensors")
    return {key: tensor.float().contiguous() for key, tensor in meant.items()}


def _gptq(weight: Tensor, group_size: int, act_order: bool = False) -> Rounded:
    groups = _groups(weight, group_size, act_order)
    values, scales, zeros, meant = _symmetric(weight, groups, torch.float16)
    tensors = {
        "qweight": pack_weight(values, "gptq"),
        "qzeros": pack_nibbles(zeros.T - 1, 1),
        "scales": scales.T,
        "g_idx": groups.int(),
    }
    return tensors, meant


def _awq(weight: Tensor, group_size: int) -> Rounded:
    groups = _groups(weight, group_size)
    values, scales, zeros, meant = _asymmetric(weight, groups, torch.float16)
    tensors = {
        "qweight": pack_weight(values, "awq"),
        "qzeros": pack_nibbles(zeros.T, 1, AWQ_ORDER),
        "scales": scales.T,
    }
    return tensors, meant


def _int4(weight: Tensor, group_size: int, symmetric: bool = True, act_order: bool = False) -> Rounded:
    groups = _groups(weight, group_size, act_order)
    values, scales, zeros, meant = (_symmetric if symmetric else _asymmetric)(weight, groups, torch.bfloat16)
    tensors = {
        "weight_packed": pack_weight(values, "compressed-tensors"),
        "weight_scale": scales,
        "weight_shape": torch.tensor(weight.shape),
    }
    if not symmetric:
        tensors["weight_zero_point"] = pack_nibbles(zeros, 0)
    if act_order:
        tensors["weight_g_idx"] = groups.int()
    return tensors, meant


def _int8(weight: Tensor, group_size: int, largest: float = 127.5) -> Rounded:
    scales = (weight.abs().amax(dim=1, keepdim=True) / largest).bfloat16()
    values = (weight / scales.float()).round().clamp(-largest - 0.5, largest - 0.5)
    return {"weight": values.to(torch.int8), "weight_scale": scales}, values * scales.float()


def _fp8(weight: Tensor, group_size: int) -> Rounded:
    scales = (weight.abs().amax(dim=1, keepdim=True) / 448).bfloat16()
    values = (weight / scales.float()).clamp(-448, 448).to(torch.float8_e4m3fn)
    return {"weight": values, "weight_scale": scales}, values.float() * scales.float()


def _groups(weight: Tensor, group_size: int, act_order: bool = False) -> Tensor:
    """Return the group of each input: [in]. With act-order, the inputs with the largest weights come first."""
    groups = torch.arange(weight.shape[1]) // group_size
    if act_order:
        groups = torch.empty_like(groups).index_copy_(0, weight.abs().sum(0).argsort(descending=True), groups)
    return groups


def _symmetric(weight: Tensor, groups: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return values [out, in] from 0 to 15, scales [out, groups], zeros [out, groups] and the dequantised weight."""
    scales = (_per_group(weight.abs(), groups).amax(dim=2) / 7.5).clamp(min=1e-6).to(dtype)
    return _rounded(weight, groups, scales, torch.full(scales.shape, 8))


def _asymmetric(weight: Tensor, groups: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    grouped = _per_group(weight, groups)
    low, high = grouped.amin(dim=2).clamp(max=0), grouped.amax(dim=2).clamp(min=0)
    scales = ((high - low) / 15).clamp(min=1e-6).to(dtype)
    return _rounded(weight, groups, scales, (-low / scales.float()).round().clamp(0, 15).long())


def _rounded(weight: Tensor, groups: Tensor, scales: Tensor, zeros: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    scale, zero = scales.float()[:, groups], zeros[:, groups]
    values = ((weight / scale).round() + zero).clamp(0, 15)
    return values.to(torch.uint8), scales, zeros, (values - zero) * scale


def _per_group(weight: Tensor, groups: Tensor) -> Tensor:
    """Group the inputs: [out, in] -> [out, groups, inputs of a group]."""
    return weight[:, groups.argsort(stable=True)].view(len(weight), int(groups.max()) + 1, -1)


def _compressed(form: str, group_size: int = -1, **changes: Any) -> dict[str, Any]:
    bits, kind = (4 if form == "pack-quantized" else 8), ("float" if form == "float-quantized" else "int")
    weights = {"num_bits": bits, "type": kind, "symmetric": True, "dynamic": False, "actorder": None}
    weights |= {"strategy": "group", "group_size": group_size} if bits == 4 else {"strategy": "channel"}
    inputs = {"num_bits": 8, "type": kind, "symmetric": True, "strategy": "token", "dynamic": True}
    group = {
        "targets": ["Linear"],
        "weights": weights | changes,
        "input_activations": None if bits == 4 else inputs,
        "output_activations": None,
    }
    return {
        "quant_method": "compressed-tensors",
        "format": form,
        "quantization_status": "compressed",
        "ignore": ["lm_head"],
        "kv_cache_scheme": None,
        "config_groups": {"group_0": group},
    }


def _gptq_config(group_size: int, act_order: bool = False) -> dict[str, Any]:
    return {"quant_method": "gptq", "bits": 4, "group_size": group_size, "sym": True, "desc_act": act_order}


def _awq_config(group_size: int) -> dict[str, Any]:
    fixed = {"quant_method": "awq", "bits": 4, "zero_point": True, "version": "gemm", "modules_to_not_convert": None}
    return {**fixed, "group_size": group_size}


FORMATS: dict[str, tuple[Callable[[Tensor, int], Rounded], Callable[[int], dict[str, Any]]]] = {
    "gptq": (_gptq, _gptq_config),
    "gptq, act-order": (lambda w, g: _gptq(w, g, True), lambda g: _gptq_config(g, True)),
    "awq": (_awq, _awq_config),
    "int4": (_int4, lambda g: _compressed("pack-quantized", g)),
    "int4, asymmetric": (lambda w, g: _int4(w, g, False), lambda g: _compressed("pack-quantized", g, symmetric=False)),
    "int4, act-order": (
        lambda w, g: _int4(w, g, True, True),
        lambda g: _compressed("pack-quantized", g, actorder="group"),
    ),
    "int8": (_int8, lambda g: _compressed("int-quantized")),
    # 7 bits, because some libraries sum products of int8 in int16 on CPUs without VNNI, where 8 bits overflow.
    "int8, 7 bits": (lambda w, g: _int8(w, g, 63.5), lambda g: _compressed("int-quantized")),
    "fp8": (_fp8, lambda g: _compressed("float-quantized")),
}
