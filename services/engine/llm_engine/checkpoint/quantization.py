"""How a checkpoint's weights are quantised, read from config.json's `quantization_config`.

    compressed-tensors   pack-quantized (int4, in groups), int-quantized (int8), float-quantized (fp8)
    gptq                 int4 in groups, with or without act-order
    awq                  int4 in groups, asymmetric ("gemm")

Which layers are quantised the tensors themselves say; whatever this engine cannot compute exactly is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from llm_engine.errors import ModelError


@dataclass(frozen=True, slots=True)
class Quantization:
    method: str
    """compressed-tensors, gptq or awq."""
    bits: int
    group_size: int = -1
    """Inputs that share a scale; -1: all of them."""
    has_zero_points: bool = False
    """Of compressed-tensors; the other formats always have them."""
    is_float: bool = False
    """8 bits are fp8 (e4m3), not int8."""
    rounds_inputs: bool = False
    """The inputs are quantised too, each token with a scale of its own."""
    zero_offset: int = 1
    """What GPTQ took off its zero points before it stored them: 1, and 0 in its second version."""

    @property
    def value_type(self) -> torch.dtype:
        return torch.uint8 if self.bits == 4 else torch.float8_e4m3fn if self.is_float else torch.int8


def parse_quantization(config: dict[str, Any] | None) -> Quantization | None:
    """`config`: quantization_config. ModelError that names what is not supported."""
    if not config:
        return None
    method = config.get("quant_method")
    if method not in METHODS:
        raise ModelError(f"quantization {method!r} is not supported; supported are {', '.join(METHODS)}")
    try:
        return METHODS[method](config)
    except KeyError as error:
        raise ModelError(f"quantization_config lacks {error.args[0]!r}") from None


def check_flag(flag: str | None, found: Quantization | None) -> None:
    """ModelError if `--quantization` says otherwise than the checkpoint."""
    method = None if found is None else found.method
    if flag not in (None, method):
        raise ModelError(
            f"--quantization is {flag}, but the checkpoint has {method or 'unquantized weights'}; leave it out"
        )


def _gptq(config: dict[str, Any]) -> Quantization:
    _require("gptq", "bits", config["bits"], 4)
    _require("gptq", "dynamic", config.get("dynamic") or None, None)
    offset = 0 if config.get("checkpoint_format") == "gptq_v2" else 1
    return Quantization("gptq", 4, config["group_size"], zero_offset=offset)


def _awq(config: dict[str, Any]) -> Quantization:
    _require("awq", "bits", config["bits"], 4)
    _require("awq", "version", str(config.get("version", "gemm")).lower(), "gemm")
    _require("awq", "zero_point", config.get("zero_point", True), True)
    return Quantization("awq", 4, config["group_size"])


def _compressed_tensors(config: dict[str, Any]) -> Quantization:
    method, form = "compressed-tensors", config["format"]
    _require(method, "kv_cache_scheme", config.get("kv_cache_scheme"), None)
    _require(method, "number of config_groups", len(config["config_groups"]), 1)
    (group,) = config["config_groups"].values()
    _require(method, "targets", group.get("targets", ["Linear"]), ["Linear"])
    weights, inputs = group["weights"], group.get("input_activations")
    _require(method, "output_activations", group.get("output_activations"), None)
    bits, kind = {"pack-quantized": (4, "int"), "int-quantized": (8, "int"), "float-quantized": (8, "float")}.get(
        form, (None, None)
    )
    _require(method, "format", form, form if bits else "pack-quantized, int-quantized or float-quantized")
    _require(method, f"weights of {form}", (weights["num_bits"], weights["type"]), (bits, kind))
    if inputs is not None:
        _require(method, f"input_activations of {form}", inputs["num_bits"], 8 if bits == 8 else "none")
        _require(method, "input_activations", (inputs["strategy"], inputs["dynamic"]), ("token", True))
        _require(method, "type of input_activations", inputs["type"], kind)
    symmetric = weights.get("symmetric", True)
    if bits == 8:
        _require(method, f"strategy of {form}", weights["strategy"], "channel")
        _require(method, f"symmetric of {form}", symmetric, True)
    else:
        _require(method, f"strategy of {form}", weights["strategy"] in ("group", "channel"), True)
    return Quantization(
        method,
        bits or 4,
        weights.get("group_size") or -1,
        has_zero_points=not symmetric,
        is_float=kind == "float",
        rounds_inputs=inputs is not None,
    )


METHODS = {"compressed-tensors": _compressed_tensors, "gptq": _gptq, "awq": _awq}


def _require(method: str, name: str, value: object, wanted: object) -> None:
    if value != wanted:
        raise ModelError(f"quantization {method}: {name} is {value!r}; supported is {wanted!r}")
