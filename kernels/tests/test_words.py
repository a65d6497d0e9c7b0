"""Packing of codes of any width: round trips, and the 4-bit layouts that the kernels read."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from llm_kernels import layouts
from llm_kernels.words import num_words, pack_words, unpack_words


@given(
    bits=st.sampled_from([2, 3, 4, 8]),
    count=st.integers(1, 40),
    others=st.integers(1, 5),
    dim=st.integers(0, 1),
    seed=st.integers(0, 999),
)
def test_packed_codes_come_back(bits, count, others, dim, seed):
    shape = (count, others) if dim == 0 else (others, count)
    codes = torch.randint(0, 2**bits, shape, generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
    packed = pack_words(codes, bits, dim)
    assert packed.shape[dim] == num_words(count, bits)
    assert torch.equal(unpack_words(packed, bits, dim, count), codes)


def test_four_bits_are_packed_as_the_kernels_read_them():
    codes = torch.randint(0, 16, (8, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    assert torch.equal(pack_words(codes, 4, 1), layouts.pack_weight(codes, "compressed-tensors"))
    assert torch.equal(pack_words(codes.T, 4, 0), layouts.pack_weight(codes, "gptq"))
