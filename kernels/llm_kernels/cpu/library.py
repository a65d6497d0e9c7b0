"""The functions of the shared library and the C structures that they take."""

from __future__ import annotations

import ctypes
import functools
from typing import Any

from torch import Tensor

from llm_kernels.cpu import build

POINTER, INT, LONG, FLOAT = ctypes.c_void_p, ctypes.c_int, ctypes.c_long, ctypes.c_float
_ARGUMENTS: dict[str, list[Any]] = {
    "panel_width": [],
    "pack_float32": [POINTER] * 2 + [INT] * 2,
    "pack_bfloat16": [POINTER] * 2 + [INT] * 2,
    "linear_layer": [POINTER] * 3 + [INT] * 2,
    "rms_norm": [POINTER] * 3 + [INT] * 2 + [FLOAT, INT],
    "add_rms_norm": [POINTER] * 4 + [INT] * 2 + [FLOAT, INT],
    "gated_activation": [POINTER] * 2 + [INT] * 4,
    "rope_paged_kv_write": [POINTER] * 9 + [INT] * 5 + [LONG] * 3 + [FLOAT, INT],
    "paged_attention": [POINTER, LONG, POINTER, POINTER, LONG] + [POINTER] * 3 + [INT] * 7 + [FLOAT, INT],
    "decoder_forward": [POINTER] * 5 + [INT] + [POINTER] * 3 + [INT],
}


@functools.cache
def function(name: str) -> Any:
    function = getattr(build.library(), name)
    function.argtypes = _ARGUMENTS[name]
    function.restype = INT if name == "panel_width" else None
    return function


def pointer(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()


class LinearStruct(ctypes.Structure):
    """`Linear` of kernels.hpp."""

    _fields_ = [
        *((name, POINTER) for name in ("panels", "bias", "scales", "order")),
        *((name, INT) for name in ("outputs", "inputs", "type", "group", "zeros", "rounding")),
    ]
