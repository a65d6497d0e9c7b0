"""Packing: round trips of random values, and against bytes written by hand from the formats' pages."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from llm_kernels import layouts
from llm_kernels.errors import UnsupportedInput

seeds = st.integers(0, 2**32 - 1)


def values_of(seed, out, k):
    return torch.randint(0, 16, (out, k), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


@given(seeds, st.integers(1, 5), st.integers(1, 5), st.sampled_from(layouts.FORMATS[:3]))
def test_round_trip(seed, out, k, layout):
    values = values_of(seed, 8 * out, 8 * k)
    packed = layouts.pack_weight(values, layout)
    assert packed.dtype == torch.int32
    assert layouts.unpacked_shape(packed, layout) == (8 * out, 8 * k)
    assert torch.equal(layouts.unpack_weight(packed, layout), values)


@given(seeds, st.integers(1, 3), st.integers(1, 3))
def test_round_trip_of_fragments(seed, out, k):
    values = values_of(seed, 16 * out, 128 * k)
    assert torch.equal(layouts.from_fragments(layouts.to_fragments(values)), values)


@given(seeds, st.sampled_from([(0, layouts.PLAIN_ORDER), (1, layouts.AWQ_ORDER)]))
def test_round_trip_of_nibbles(seed, how):
    dim, order = how
    values = values_of(seed, 16, 24)
    assert torch.equal(layouts.unpack_nibbles(layouts.pack_nibbles(values, dim, order), dim, order), values)


def test_gptq_by_hand():
    # One output, inputs 0 to 7 hold 1 to 8: the first input is the lowest nibble. Zero 8 is stored as 7.
    qweight = torch.tensor([[-0x789ABCDF]], dtype=torch.int32)  # 0x87654321
    weight = layouts.from_gptq(qweight, torch.tensor([[0x77777777]], dtype=torch.int32), torch.tensor([[0.5]]))
    assert layouts.unpack_weight(weight.qweight, "gptq").tolist() == [[1, 2, 3, 4, 5, 6, 7, 8]]
    assert weight.zeros is None
    assert layouts.dequantize(weight).tolist() == [[-3.5, -3.0, -2.5, -2.0, -1.5, -1.0, -0.5, 0.0]]


def test_awq_by_hand():
    # One input, outputs 0 to 7 hold 0 to 7; nibble i is output [0, 2, 4, 6, 1, 3, 5, 7][i]. Zeros are stored plainly.
    qweight = torch.tensor([[0x75316420]], dtype=torch.int32)
    qzeros = torch.tensor([[0x11111111]], dtype=torch.int32)
    weight = layouts.from_awq(qweight, qzeros, torch.full((1, 8), 2.0))
    assert layouts.unpack_weight(weight.qweight, "awq").flatten().tolist() == [0, 1, 2, 3, 4, 5, 6, 7]
    assert layouts.dequantize(weight).flatten().tolist() == [-2.0, 0.0, 2.0, 4.0, 6.0, 8.0, 10.0, 12.0]


def test_compressed_tensors_by_hand():
    # One output; value + 8 along the input; zero points are packed along the outputs, one word for eight of them.
    packed = torch.tensor([[0x76543210]] * 8, dtype=torch.int32)
    zero_point = torch.tensor([[0x33333333]], dtype=torch.int32)
    weight = layouts.from_compressed_tensors(packed, torch.ones(8, 1), zero_point)
    assert layouts.dequantize(weight)[0].tolist() == [-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0, 4.0]
    symmetric = layouts.from_compressed_tensors(packed, torch.ones(8, 1))
    assert layouts.dequantize(symmetric)[0].tolist() == [-8.0, -7.0, -6.0, -5.0, -4.0, -3.0, -2.0, -1.0]


def test_act_order_becomes_a_permutation_of_the_inputs():
    values = values_of(1, 8, 64)
    groups = torch.arange(64) % 2  # every other input belongs to group 1
    scales, zeros = torch.tensor([[1.0] * 8, [10.0] * 8]), torch.full((2, 1), 0x77777777, dtype=torch.int32)
    weight = layouts.from_gptq(layouts.pack_weight(values, "gptq"), zeros, scales, groups)
    x = torch.randn(3, 64)
    expected = x @ ((values.float() - 8) * torch.where(groups == 0, 1.0, 10.0)).T
    assert torch.allclose(x[:, weight.permutation] @ layouts.dequantize(weight).T, expected, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("layout", layouts.FORMATS)
def test_repack_keeps_the_weight(layout):
    values = values_of(2, 32, 256)
    weight = layouts.W4("gptq", layouts.pack_weight(values, "gptq"), torch.rand(2, 32), None)
    assert torch.equal(layouts.dequantize(layouts.repack(weight, layout)), layouts.dequantize(weight))


def test_fragments_are_what_a_warp_multiplies():
    """The kernel's own reading of a tile, lane by lane, as cuda/w4a16_gemv.cu does it: masks, pairs, fragments."""
    values, x = values_of(3, 16, 128), torch.randn(8, 128, dtype=torch.float64)
    words = layouts.to_fragments(values).flatten().long() & 0xFFFFFFFF
    out = torch.zeros(16, 8, dtype=torch.float64)
    for w in range(4):
        for half in range(2):
            a = torch.zeros(16, 16, dtype=torch.float64)  # rows, k of one 16-step
            b = x[:, 32 * w + 16 * half : 32 * w + 16 * half + 16].T
            for lane in range(32):
                g, t = lane // 4, lane % 4
                for rows in range(2):
                    word = int(words[(rows * 32 + lane) * 4 + w])
                    for pair in range(2):  # operand registers a0 / a1, then a2 / a3
                        bits = word >> (4 * (2 * half + pair)) & 0x000F000F
                        a[g + 8 * rows, 8 * pair + 2 * t] = (bits & 15) - 8
                        a[g + 8 * rows, 8 * pair + 2 * t + 1] = (bits >> 16) - 8
            out += a @ b
    assert torch.allclose(out, (values.double() - 8) @ x.T)


def test_says_what_it_takes():
    with pytest.raises(UnsupportedInput, match="multiple of 8"):
        layouts.pack_nibbles(torch.zeros(2, 7, dtype=torch.uint8), 1)
    with pytest.raises(UnsupportedInput, match="there are gptq, awq"):
        layouts.pack_weight(torch.zeros(8, 8, dtype=torch.uint8), "marlin")
    with pytest.raises(UnsupportedInput, match="multiple of 16"):
        layouts.to_fragments(torch.zeros(8, 128, dtype=torch.uint8))
