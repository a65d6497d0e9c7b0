"""Grids: codes stay in range, errors within half a step, stored scales are the ones that were used."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from llm_quantize.algorithms.fp8 import fp8
from llm_quantize.algorithms.grid import PER_CHANNEL, PER_TENSOR, Grid, QuantizedWeight, decode, encode, fit
from llm_quantize.algorithms.rtn import rtn

BITS = st.sampled_from([2, 3, 4, 8])


@st.composite
def weights(draw: st.DrawFn) -> Tensor:
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**16)))
    out, groups = draw(st.integers(1, 6)), draw(st.integers(1, 4))
    spread = 10.0 ** draw(st.integers(-3, 3))
    return torch.randn(out, groups * 16, generator=generator) * spread + draw(st.sampled_from([0.0, spread]))


@given(weights(), BITS, st.booleans(), st.sampled_from([16, PER_CHANNEL, PER_TENSOR]))
def test_an_error_is_at_most_a_step_and_half_a_step_if_asymmetric(
    weight: Tensor, bits: int, symmetric: bool, group_size: int
) -> None:
    grid = Grid(bits, group_size, symmetric)
    found = rtn(weight, grid)
    assert 0 <= int(found.codes.min()) <= int(found.codes.max()) <= 2**bits - 1
    error = (found.dequantize() - weight).abs().view(len(weight), found.scales.shape[1], -1)
    # A symmetric range ends half a step short of its largest code, and a rounded zero point shifts it by as much.
    assert bool((error <= found.scales.unsqueeze(2) * (1.0 + 1e-5)).all())
    inside = (found.codes > 0) & (found.codes < grid.largest)
    half = (found.scales * (0.5 + 1e-5)).repeat_interleave(weight.shape[1] // found.scales.shape[1], dim=1)
    assert bool((error.view_as(weight)[inside] <= half[inside] + weight.abs().max() * 1e-6).all())


@given(weights(), BITS, st.booleans())
def test_rounding_twice_changes_nothing(weight: Tensor, bits: int, symmetric: bool) -> None:
    grid = Grid(bits, 16, symmetric)
    parameters = fit(weight, grid)
    once = decode(encode(weight, parameters, grid), parameters, grid)
    torch.testing.assert_close(decode(encode(once, parameters, grid), parameters, grid), once)


@given(weights(), BITS, st.booleans(), st.sampled_from([2.0, 3.0]))
def test_the_clip_search_never_rounds_worse_than_the_whole_range(
    weight: Tensor, bits: int, symmetric: bool, norm: float
) -> None:
    grid = Grid(bits, 16, symmetric)

    def error(clip_norm: float | None) -> float:
        return float((rtn(weight, grid, clip_norm=clip_norm).dequantize() - weight).abs().pow(norm).sum())

    assert error(norm) <= error(None) * (1 + 1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_codes_fit_the_scales_that_are_stored(dtype: torch.dtype) -> None:
    weight = torch.randn(32, 64, generator=torch.Generator().manual_seed(0))
    found = rtn(weight, Grid(8, 32, scale_dtype=dtype))
    assert found.scales.dtype is dtype
    best = (weight.view(32, 2, 32) / found.scales.float().unsqueeze(2)).round().clamp(-128, 127) + 128
    assert torch.equal(found.codes.view(32, 2, 32).float(), best)


@pytest.mark.parametrize("symmetric", [True, False])
def test_a_group_of_zeros_stays_zero(symmetric: bool) -> None:
    found = rtn(torch.zeros(2, 32), Grid(4, 16, symmetric, torch.float16))
    assert not found.dequantize().any()
    assert bool(found.scales.isfinite().all())


def test_one_scale_for_the_whole_tensor() -> None:
    found = rtn(torch.arange(32.0).view(4, 8), Grid(8, PER_TENSOR))
    assert len(found.scales.unique()) == 1


@given(weights())
def test_fp8_keeps_values_within_a_sixteenth(weight: Tensor) -> None:
    found: QuantizedWeight = fp8(weight, Grid(8))
    tiny = found.scales * 2.0**-6  # below the smallest normal number steps are fixed
    allowed = torch.maximum(weight.abs() / 16, tiny / 16) * (1 + 1e-5)
    assert bool(((found.dequantize() - weight).abs() <= allowed).all())
