"""The quantisation of a checkpoint, read from `quantization_config` in config.json.

    compressed-tensors   pack-quantized (2, 3, 4 or 8 bits), int-quantized (int8), float-quantized (fp8)
    gptq                 2, 4 or 8 bits in groups, with or without act-order
    awq                  4 bits in groups, asymmetric ("gemm")

The tensors themselves show which layers are quantised, whatever a config's `targets` and `ignore` say. A scheme that
this engine cannot compute exactly is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from llm_engine.errors import ModelError


@dataclass(frozen=True, slots=True)
class Quantization:
    """A quantisation scheme."""

    method: str
    """compressed-tensors, gptq or awq."""
    bits: int
    group_size: int = -1
    """Number of inputs that share a scale; -1: all of them."""
    has_zero_points: bool = False
    """Whether compressed-tensors stores zero points; the other formats always do."""
    is_float: bool = False
    """Whether 8-bit values are fp8 (e4m3) and not int8."""
    rounds_inputs: bool = False
    """Whether inputs are quantised as well, with one scale per token."""
    has_kv_scales: bool = False
    """Whether the checkpoint has scales of an FP8 KV cache."""
    zero_offset: int = 1
    """Number that GPTQ subtracts from zero points before it stores them: 1, or 0 in the second version."""

    @property
    def middle(self) -> int:
        """The zero point of symmetric packed codes."""
        return 1 << (self.bits - 1)

    @property
    def largest_code(self) -> int:
        return (1 << self.bits) - 1

    def resident_bits(self, dense: int) -> int:
        """Return the bits of a weight in a GPU's memory, where a dense one has `dense`.

        Codes of 2 and 3 bits are held as 4 bits. Weights of 8 bits are dequantised unless the inputs are rounded.
        """
        return max(4, self.bits) if self.bits < 8 or self.rounds_inputs else dense


def parse_quantization(config: dict[str, Any] | None) -> Quantization | None:
    """Read quantization_config. ModelError if it is not supported."""
    if not config:
        return None
    method = config.get("quant_method")
    if method not in METHODS:
        raise ModelError(f"quantization {method!r} is not supported; supported: {', '.join(METHODS)}")
    try:
        return METHODS[method](config)
    except KeyError as error:
        raise ModelError(f"quantization_config lacks {error.args[0]!r}") from None


def check_flag(flag: str | None, found: Quantization | None) -> None:
    """Raise ModelError if `--quantization` contradicts the checkpoint."""
    method = None if found is None else found.method
    if flag not in (None, method):
        raise ModelError(
            f"--quantization is {flag}, but the checkpoint has {method or 'unquantized weights'}; leave it out"
        )


def _gptq(config: dict[str, Any]) -> Quantization:
    _require("bits of gptq", config["bits"], 2, 4, 8)
    _require("dynamic of gptq", config.get("dynamic") or None, None)
    offset = 0 if config.get("checkpoint_format") == "gptq_v2" else 1
    return Quantization("gptq", config["bits"], config["group_size"], zero_offset=offset)


def _awq(config: dict[str, Any]) -> Quantization:
    _require("bits of awq", config["bits"], 4)
    _require("version of awq", str(config.get("version", "gemm")).lower(), "gemm")
    _require("zero_point of awq", config.get("zero_point", True), True)
    return Quantization("awq", 4, config["group_size"])


def _compressed_tensors(config: dict[str, Any]) -> Quantization:
    form, groups = config["format"], list(config["config_groups"].values())
    _require("format", form, *COMPRESSED_FORMATS)
    cache = config.get("kv_cache_scheme")
    if cache is not None:
        known = {name: cache.get(name) for name in KV_CACHE}
        _require("kv_cache_scheme", known, KV_CACHE)
    _require("number of config_groups", len(groups), 1)
    _require("output_activations", groups[0].get("output_activations"), None)
    weights, inputs = groups[0]["weights"], groups[0].get("input_activations")
    widths, kind, strategies = COMPRESSED_FORMATS[form]
    is_packed = form == "pack-quantized"
    _require(f"num_bits of {form}", weights["num_bits"], *widths)
    _require(f"type of {form}", weights["type"], kind)
    _require(f"strategy of {form}", weights["strategy"], *strategies)
    _require(f"symmetric of {form}", weights.get("symmetric", True), True, *([False] if is_packed else []))
    if inputs is not None:
        _require(f"input_activations of {form}", (inputs["num_bits"], inputs["type"]), None if is_packed else (8, kind))
        _require("input_activations", (inputs["strategy"], inputs["dynamic"]), ("token", True))
    return Quantization(
        "compressed-tensors",
        weights["num_bits"],
        weights.get("group_size") or -1,
        has_zero_points=not weights.get("symmetric", True),
        is_float=kind == "float",
        rounds_inputs=inputs is not None,
        has_kv_scales=cache is not None,
    )


COMPRESSED_FORMATS = {
    "pack-quantized": ((2, 3, 4, 8), "int", ("group", "channel")),
    "int-quantized": ((8,), "int", ("channel",)),
    "float-quantized": ((8,), "float", ("channel",)),
}
"""Format -> bits, type and strategies of the weights."""
KV_CACHE = {"num_bits": 8, "type": "float", "strategy": "tensor", "dynamic": False, "symmetric": True}
"""FP8 (e4m3), with one scale for a layer's keys and one for its values."""
METHODS = {"compressed-tensors": _compressed_tensors, "gptq": _gptq, "awq": _awq}


def _require(name: str, value: object, *allowed: object) -> None:
    if value not in allowed:
        raise ModelError(f"quantization: {name} is {value!r}; supported: {' or '.join(map(repr, allowed))}")
