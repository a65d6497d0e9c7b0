"""GPTQ against the problem that it solves: at each step, the rest of the row takes its least-squares optimum."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from llm_quantize.algorithms.gptq import Hessian, gptq
from llm_quantize.algorithms.grid import Grid, Parameters, encode, fit
from llm_quantize.algorithms.rtn import rtn


def layer(seed: int, out: int, inputs: int, tokens: int = 256) -> tuple[Tensor, Tensor]:
    """Return weights and correlated inputs [tokens, inputs]."""
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(inputs, inputs, generator=generator)
    x = torch.randn(tokens, inputs, generator=generator) @ mix
    return torch.randn(out, inputs, generator=generator), x


def hessian_of(x: Tensor) -> Tensor:
    gathered = Hessian(x.shape[1])
    for part in x.split(100):
        gathered.add(part)
    return gathered.matrix()


def solve_by_hand(weight: Tensor, hessian: Tensor, grid: Grid, damping: float) -> Tensor:
    """Round one column after the other; before each, solve for the free columns from scratch, in float64."""
    damped = hessian.double() + damping * hessian.diagonal().double().mean() * torch.eye(len(hessian))
    current, codes = weight.double().clone(), torch.zeros_like(weight)
    parameters = Parameters(torch.empty(0), torch.empty(0))
    for column in range(weight.shape[1]):
        if column % grid.width(weight.shape[1]) == 0:
            group = current[:, column : column + grid.width(weight.shape[1])]
            parameters = fit(group.float(), Grid(grid.bits, symmetric=grid.symmetric))
        one = encode(current[:, column : column + 1].float(), parameters, Grid(grid.bits))
        codes[:, column] = one[:, 0]
        # min over the free columns F of (w - w') H (w - w')^T with the rounded columns fixed:
        # d_F = -H_FF^-1 H_F,R d_R
        current[:, column] = ((one - parameters.zeros) * parameters.scales)[:, 0].double()
        done, free = slice(0, column + 1), slice(column + 1, None)
        change = current[:, done] - weight.double()[:, done]
        solved = torch.linalg.solve(damped[free, free], damped[free, done] @ change.T)
        current[:, free] = weight.double()[:, free] - solved.T
    return codes


@given(st.integers(0, 10_000), st.sampled_from([2, 3, 4, 8]), st.booleans(), st.sampled_from([-1, 4]))
@settings(max_examples=25)
def test_the_codes_of_a_brute_force_solve(seed: int, bits: int, symmetric: bool, group_size: int) -> None:
    weight, x = layer(seed, 3, 12)
    hessian = hessian_of(x)
    grid = Grid(bits, group_size, symmetric)
    found = gptq(weight, hessian, grid, damping=0.05).weight
    expected = solve_by_hand(weight, hessian, grid, 0.05)
    # A value halfway between two codes can fall on either side: float32 against float64.
    assert int((found.codes.float() != expected).sum()) <= 1


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("act_order", [False, True])
@pytest.mark.parametrize("symmetric", [False, True])
def test_outputs_are_closer_than_after_rounding(bits: int, act_order: bool, symmetric: bool) -> None:
    weight, x = layer(1, 64, 256, tokens=1024)
    grid = Grid(bits, 64, symmetric)
    solved = gptq(weight, hessian_of(x), grid, act_order=act_order).weight.dequantize()
    rounded = rtn(weight, grid).dequantize()
    assert ((solved - weight) @ x.T).norm() < 0.9 * ((rounded - weight) @ x.T).norm()


def test_a_hessian_of_many_inputs_is_whole_and_symmetric() -> None:
    _, x = layer(8, 1, 500)
    found = hessian_of(x)
    assert torch.equal(found, found.T)
    torch.testing.assert_close(found, 2 * x.T @ x / len(x), atol=1e-3, rtol=1e-4)


def test_without_correlation_it_is_rounding() -> None:
    weight, _ = layer(2, 8, 32)
    found = gptq(weight, torch.eye(32), Grid(4, 16)).weight
    assert torch.equal(found.codes, rtn(weight, Grid(4, 16)).codes)


def test_blocks_change_nothing() -> None:
    weight, x = layer(3, 4, 320, tokens=640)
    whole = gptq(weight, hessian_of(x), Grid(4, 32)).weight
    alone = torch.stack([gptq(row[None], hessian_of(x), Grid(4, 32)).weight.codes[0] for row in weight])
    assert (whole.codes != alone).float().mean() < 0.01


def test_act_order_keeps_the_groups_of_consecutive_inputs() -> None:
    weight, x = layer(4, 8, 64)
    found = gptq(weight, hessian_of(x), Grid(4, 16), act_order=True).weight
    assert torch.equal(found.scales, rtn(weight, Grid(4, 16)).scales)


def test_an_input_that_is_always_zero() -> None:
    weight, x = layer(5, 4, 16)
    x[:, 3] = 0
    found = gptq(weight, hessian_of(x), Grid(4)).weight.dequantize()
    assert not found[:, 3].any()
    assert bool(found.isfinite().all())


def test_a_singular_hessian_gets_more_damping_and_says_so() -> None:
    weight, _ = layer(6, 4, 64)
    row = torch.full((1, 64), 100.0)
    row[0, ::2] = -100.0
    solution = gptq(weight, hessian_of(row), Grid(4), damping=1e-9)
    assert solution.damping > 1e-9
    assert not solution.is_rounded


def test_a_hessian_that_is_none_is_rounded_and_says_so() -> None:
    weight, _ = layer(7, 4, 16)
    solution = gptq(weight, torch.full((16, 16), torch.nan), Grid(4))
    assert solution.is_rounded
    assert torch.equal(solution.weight.codes, rtn(weight, Grid(4)).codes)
