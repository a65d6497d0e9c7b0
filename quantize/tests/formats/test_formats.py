"""Formats: what is written is read back, word for word as the layouts say."""

from __future__ import annotations

import pytest
import torch

from llm_kernels import layouts
from llm_quantize.algorithms.fp8 import fp8
from llm_quantize.algorithms.grid import Grid, QuantizedWeight
from llm_quantize.algorithms.rtn import rtn
from llm_quantize.formats import FORMATS

CASES = [
    *(("compressed-tensors", Grid(bits, 16, symmetric)) for bits in (2, 3, 4, 8) for symmetric in (True, False)),
    ("compressed-tensors", Grid(4)),
    *(("gptq", Grid(bits, 16)) for bits in (2, 4, 8)),
    ("gptq", Grid(4)),
    ("awq", Grid(4, 16, symmetric=False)),
]


def equal(one: QuantizedWeight, other: QuantizedWeight | None) -> bool:
    return other is not None and torch.equal(one.dequantize(), other.dequantize())


@pytest.mark.parametrize(("name", "grid"), CASES)
def test_a_weight_comes_back(name: str, grid: Grid) -> None:
    weight = rtn(torch.randn(16, 32, generator=torch.Generator().manual_seed(0)), grid)
    assert equal(weight, FORMATS[name].read(FORMATS[name].write(weight), grid))


def test_eight_bit_weights_are_not_packed_if_inputs_are_rounded() -> None:
    random = torch.randn(16, 32, generator=torch.Generator().manual_seed(0))
    form = FORMATS["compressed-tensors"]
    int8, floats = form.write(rtn(random, Grid(8)), "int8"), form.write(fp8(random, Grid(8)), "fp8")
    assert int8["weight"].dtype is torch.int8
    assert floats["weight"].dtype is torch.float8_e4m3fn
    assert equal(rtn(random, Grid(8)), form.read(int8, Grid(8)))
    assert equal(fp8(random, Grid(8)), form.read(floats, Grid(8)))


def test_the_kernels_read_the_same_weights() -> None:
    random = torch.randn(16, 32, generator=torch.Generator().manual_seed(0))
    symmetric, asymmetric = rtn(random, Grid(4, 16)), rtn(random, Grid(4, 16, symmetric=False))
    gptq, awq = FORMATS["gptq"].write(symmetric), FORMATS["awq"].write(asymmetric)
    packed = FORMATS["compressed-tensors"].write(asymmetric)
    found = layouts.from_gptq(gptq["qweight"], gptq["qzeros"], gptq["scales"], gptq["g_idx"])
    torch.testing.assert_close(layouts.dequantize(found), symmetric.dequantize())
    found = layouts.from_awq(awq["qweight"], awq["qzeros"], awq["scales"])
    torch.testing.assert_close(layouts.dequantize(found), asymmetric.dequantize())
    found = layouts.from_compressed_tensors(
        packed["weight_packed"], packed["weight_scale"], packed["weight_zero_point"]
    )
    torch.testing.assert_close(layouts.dequantize(found), asymmetric.dequantize())
