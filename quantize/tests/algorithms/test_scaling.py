"""Scaled channels: the product stays what it was, and a scale of 1 is plain rounding."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from llm_quantize.algorithms import awq, smoothquant
from llm_quantize.algorithms.activations import round_fp8, round_int8
from llm_quantize.algorithms.grid import Grid
from llm_quantize.algorithms.rtn import rtn
from llm_quantize.algorithms.scaling import centred, choose

SEEDS = st.integers(0, 10_000)


def random(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@given(SEEDS, st.sampled_from(smoothquant.ALPHAS))
def test_smoothing_changes_no_product(seed: int, alpha: float) -> None:
    x, weight = random(seed, 10, 16), random(seed + 1, 8, 16)
    x[:, 3] *= 100
    scales = smoothquant.smoothing_scales(x.abs().amax(dim=0), [weight], alpha)
    torch.testing.assert_close((x / scales) @ (weight * scales).T, x @ weight.T, rtol=1e-4, atol=1e-3)


def test_smoothing_by_one_half_gives_inputs_and_weights_the_same_range() -> None:
    x, weight = random(0, 10, 16), random(1, 8, 16)
    scales = smoothquant.smoothing_scales(x.abs().amax(dim=0), [weight], 0.5)
    torch.testing.assert_close((x / scales).abs().amax(dim=0), (weight * scales).abs().amax(dim=0))


@given(SEEDS)
def test_awq_with_scales_of_one_is_rounding(seed: int) -> None:
    weight = random(seed, 8, 32)
    grid = Grid(4, 16, symmetric=False)
    parameter, scales = next(awq.candidates(random(seed + 1, 32).abs(), [weight], grid))
    assert parameter is None
    assert torch.equal(rtn(weight * scales, grid).dequantize() / scales, rtn(weight, grid).dequantize())


@given(SEEDS)
def test_awqs_choice_is_never_worse_than_rounding(seed: int) -> None:
    weight, x = random(seed, 8, 32), random(seed + 1, 64, 32)
    x[:, 5] *= 30
    grid = Grid(4, 16, symmetric=False)

    def loss(scales: torch.Tensor) -> float:
        return float(((x / scales) @ rtn(weight * scales, grid).dequantize().T - x @ weight.T).pow(2).sum())

    chosen = choose(awq.candidates(x.abs().mean(dim=0), [weight], grid), loss)
    assert chosen.loss <= loss(torch.ones(32))


def test_awq_finds_the_channel_that_matters() -> None:
    weight, x = random(0, 32, 64), random(1, 256, 64)
    x[:, 7] *= 50
    grid = Grid(4, 64, symmetric=False)

    def loss(scales: torch.Tensor) -> float:
        return float(((x / scales) @ rtn(weight * scales, grid).dequantize().T - x @ weight.T).pow(2).sum())

    chosen = choose(awq.candidates(x.abs().mean(dim=0), [weight], grid), loss)
    assert int(chosen.scales.argmax()) == 7
    assert chosen.loss < 0.5 * loss(torch.ones(64))


@given(st.lists(st.floats(0, 1e30, allow_nan=False), min_size=2, max_size=8))
def test_centred_scales_are_finite_and_positive(values: list[float]) -> None:
    scales = centred(torch.tensor(values))
    assert bool((scales > 0).all())
    assert bool(scales.isfinite().all())


@given(SEEDS)
def test_inputs_are_rounded_within_half_a_step_of_their_token(seed: int) -> None:
    x = random(seed, 5, 16)
    assert bool(((round_int8(x) - x).abs() <= x.abs().amax(dim=1, keepdim=True) / 127 * 0.5001).all())
    assert bool(((round_fp8(x) - x).abs() <= x.abs() / 15.9 + x.abs().amax() * 2.0**-15).all())


def test_a_token_of_zeros_stays_zero() -> None:
    assert not round_int8(torch.zeros(1, 8)).any()
    assert not round_fp8(torch.zeros(1, 8)).any()
