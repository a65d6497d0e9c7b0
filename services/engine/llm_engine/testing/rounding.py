"""Small checkpoints, quantised by plain rounding in every format that the engine loads, and their dequantised weights.

    dequantized = round_model(Path("models/main"), Path("out/gptq"), "gptq")

Nothing is calibrated: the checkpoints are for tests of loading, not for use.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from llm_kernels.layouts import AWQ_ORDER, pack_nibbles, pack_weight
from llm_kernels.words import pack_words

Tensors = dict[str, Tensor]
Rounded = tuple[Tensors, Tensor]
"""Tensors by suffix, such as `qweight`, and the dequantised weight [out, in] float32."""
Parts = tuple[Tensor, Tensor, Tensor, Tensor]
"""Codes [out, in], scales [out, groups], zeros [out, groups] and the dequantised weight."""


def round_model(source: Path, target: Path, name: str, group_size: int = 32, *, head: bool = False) -> Tensors:
    """Quantise the projections of the model at `source` in the format `name` of FORMATS, and write it to `target`.

    With `head`, quantise the output head as well. Return all weights by name, dequantised.
    """
    round_weight, quantization = FORMATS[name]
    shutil.copytree(source, target)
    config = json.loads((target / "config.json").read_text())
    config["quantization_config"] = quantization(group_size)
    tensors = load_file(target / "model.safetensors")
    if head:
        config["tie_word_embeddings"] = False
        _name_head(config["quantization_config"])
        tensors["lm_head.weight"] = tensors.get("lm_head.weight", tensors["model.embed_tokens.weight"])
    (target / "config.json").write_text(json.dumps(config))
    written: Tensors = {}
    meant: Tensors = {}
    for key, tensor in tensors.items():
        if not key.endswith(("_proj.weight", "lm_head.weight")):
            written[key] = meant[key] = tensor
            continue
        parts, meant[key] = round_weight(tensor.float(), group_size)
        written |= {key.removesuffix("weight") + suffix: t.contiguous() for suffix, t in parts.items()}
    save_file(written, target / "model.safetensors")
    return {key: tensor.float().contiguous() for key, tensor in meant.items()}


def _gptq(weight: Tensor, group_size: int, act_order: bool = False, *, bits: int = 4) -> Rounded:
    groups = _groups(weight, group_size, act_order)
    values, scales, zeros, meant = _symmetric(weight, groups, torch.float16, bits)
    tensors = {
        "qweight": pack_words(values.T, bits, 0),
        "qzeros": pack_words(zeros.T - 1, bits, 1),
        "scales": scales.T,
        "g_idx": groups.int(),
    }
    return tensors, meant


def _awq(weight: Tensor, group_size: int) -> Rounded:
    groups = _groups(weight, group_size)
    values, scales, zeros, meant = _asymmetric(weight, groups, torch.float16, 4)
    tensors = {
        "qweight": pack_weight(values, "awq"),
        "qzeros": pack_nibbles(zeros.T, 1, AWQ_ORDER),
        "scales": scales.T,
    }
    return tensors, meant


def _packed(
    weight: Tensor, group_size: int, symmetric: bool = True, act_order: bool = False, *, bits: int = 4
) -> Rounded:
    groups = _groups(weight, group_size, act_order)
    values, scales, zeros, meant = (_symmetric if symmetric else _asymmetric)(weight, groups, torch.bfloat16, bits)
    tensors = {
        "weight_packed": pack_words(values, bits, 1),
        "weight_scale": scales,
        "weight_shape": torch.tensor(weight.shape),
    }
    if not symmetric:
        tensors["weight_zero_point"] = pack_words(zeros, bits, 0)
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


def _symmetric(weight: Tensor, groups: Tensor, dtype: torch.dtype, bits: int) -> Parts:
    largest = 2**bits - 1
    scales = (_per_group(weight.abs(), groups).amax(dim=2) / (largest / 2)).clamp(min=1e-6).to(dtype)
    return _rounded(weight, groups, scales, torch.full(scales.shape, 2 ** (bits - 1)), largest=largest)


def _asymmetric(weight: Tensor, groups: Tensor, dtype: torch.dtype, bits: int) -> Parts:
    largest = 2**bits - 1
    grouped = _per_group(weight, groups)
    low, high = grouped.amin(dim=2).clamp(max=0), grouped.amax(dim=2).clamp(min=0)
    scales = ((high - low) / largest).clamp(min=1e-6).to(dtype)
    return _rounded(weight, groups, scales, (-low / scales.float()).round().clamp(0, largest).long(), largest=largest)


def _rounded(weight: Tensor, groups: Tensor, scales: Tensor, zeros: Tensor, *, largest: int) -> Parts:
    scale, zero = scales.float()[:, groups], zeros[:, groups]
    values = ((weight / scale).round() + zero).clamp(0, largest)
    return values.to(torch.uint8), scales, zeros, (values - zero) * scale


def _per_group(weight: Tensor, groups: Tensor) -> Tensor:
    """Group the inputs: [out, in] -> [out, groups, inputs of a group]."""
    return weight[:, groups.argsort(stable=True)].view(len(weight), int(groups.max()) + 1, -1)


def _compressed(form: str, group_size: int = -1, **changes: Any) -> dict[str, Any]:
    kind, is_packed = "float" if form == "float-quantized" else "int", form == "pack-quantized"
    weights = {"num_bits": 4 if is_packed else 8, "type": kind, "symmetric": True, "dynamic": False, "actorder": None}
    weights |= {"strategy": "group", "group_size": group_size} if is_packed else {"strategy": "channel"}
    inputs = {"num_bits": 8, "type": kind, "symmetric": True, "strategy": "token", "dynamic": True}
    group = {
        "targets": ["Linear"],
        "weights": weights | changes,
        "input_activations": None if is_packed else inputs,
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


def _name_head(quantization: dict[str, Any]) -> None:
    """Say in a `quantization_config` that the output head is quantised, as vLLM wants to be told."""
    quantization["lm_head"] = True  # gptq
    quantization["ignore"] = []
    for group in quantization.get("config_groups", {}).values():
        group["targets"].append("lm_head")


def _gptq_config(group_size: int, act_order: bool = False, bits: int = 4) -> dict[str, Any]:
    return {"quant_method": "gptq", "bits": bits, "group_size": group_size, "sym": True, "desc_act": act_order}


def _awq_config(group_size: int) -> dict[str, Any]:
    fixed = {"quant_method": "awq", "bits": 4, "zero_point": True, "version": "gemm", "modules_to_not_convert": None}
    return {**fixed, "group_size": group_size}


FORMATS: dict[str, tuple[Callable[[Tensor, int], Rounded], Callable[[int], dict[str, Any]]]] = {
    "gptq": (_gptq, _gptq_config),
    "gptq, act-order": (lambda w, g: _gptq(w, g, True), lambda g: _gptq_config(g, True)),
    "awq": (_awq, _awq_config),
    "gptq, 2 bits": (partial(_gptq, bits=2), lambda g: _gptq_config(g, bits=2)),
    "gptq, 8 bits": (partial(_gptq, bits=8), lambda g: _gptq_config(g, bits=8)),
    "int4": (_packed, lambda g: _compressed("pack-quantized", g)),
    "int4, asymmetric": (
        lambda w, g: _packed(w, g, False),
        lambda g: _compressed("pack-quantized", g, symmetric=False),
    ),
    "int4, act-order": (
        lambda w, g: _packed(w, g, True, True),
        lambda g: _compressed("pack-quantized", g, actorder="group"),
    ),
    "int2": (partial(_packed, bits=2), lambda g: _compressed("pack-quantized", g, num_bits=2)),
    "int3, asymmetric": (
        lambda w, g: _packed(w, g, False, bits=3),
        lambda g: _compressed("pack-quantized", g, num_bits=3, symmetric=False),
    ),
    "int8, packed": (partial(_packed, bits=8), lambda g: _compressed("pack-quantized", g, num_bits=8)),
    "int8, packed, asymmetric": (
        lambda w, g: _packed(w, g, False, bits=8),
        lambda g: _compressed("pack-quantized", g, num_bits=8, symmetric=False),
    ),
    "int8, packed, channels": (
        lambda w, _: _packed(w, w.shape[1], bits=8),
        lambda _: _compressed("pack-quantized", num_bits=8, strategy="channel"),
    ),
    "int8": (_int8, lambda g: _compressed("int-quantized")),
    # 7 bits, because some libraries sum products of int8 in int16 on CPUs without VNNI, where 8 bits overflow.
    "int8, 7 bits": (lambda w, g: _int8(w, g, 63.5), lambda g: _compressed("int-quantized")),
    "fp8": (_fp8, lambda g: _compressed("float-quantized")),
}
