"""Quantise the layers of one block by a recipe: the algorithms, applied to modules."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from llm_quantize.algorithms import awq
from llm_quantize.algorithms.activations import round_fp8, round_int8
from llm_quantize.algorithms.fp8 import fp8
from llm_quantize.algorithms.gptq import gptq
from llm_quantize.algorithms.grid import Grid, QuantizedWeight, encode, fit, pack
from llm_quantize.algorithms.rtn import rtn
from llm_quantize.calibration.checks import check_count
from llm_quantize.errors import ModelError
from llm_quantize.pipeline.block import Block, SharedInputs
from llm_quantize.settings import Recipe

ROUND_INPUTS: dict[str | None, Callable[[Tensor], Tensor] | None] = {
    None: None,
    "int8": round_int8,
    "fp8": round_fp8,
}


@dataclass(frozen=True, slots=True)
class Error:
    """The error of a layer's outputs, or of its weights if no text was read."""

    error_mse: float
    relative_error: float
    """Share of the mean square itself."""
    error_of: str
    """outputs or weights."""


@dataclass(frozen=True, slots=True)
class Quantized:
    """A layer after its method."""

    name: str
    """Within the block."""
    weight: QuantizedWeight
    error: Error
    warnings: tuple[str, ...] = ()


def grid_for(recipe: Recipe, scale_dtype: torch.dtype) -> Grid:
    return Grid(recipe.bits, recipe.group_size, recipe.symmetric, scale_dtype)


def check_shapes(layers: Iterable[tuple[str, nn.Linear]], grid: Grid) -> None:
    """Raise ModelError if groups do not divide a layer's inputs."""
    for name, layer in layers:
        inputs = layer.in_features
        if inputs % grid.width(inputs):
            fitting = [size for size in (128, 64, 32, 16) if not inputs % size]
            raise ModelError(
                f"{name} has {inputs} inputs, which groups of {grid.group_size} do not divide; use a group_size of "
                f"{', '.join(map(str, fitting))}{' or ' if fitting else ''}-1, one scale per channel"
            )


def quantize_layers(
    block: Block, layers: Sequence[str], groups: Sequence[SharedInputs], recipe: Recipe, *, grid: Grid
) -> Iterator[Quantized]:
    """Yield the block's layers, quantised. `groups` have their inputs' Hessians; without them layers are rounded."""
    linears = block.linears()
    if not groups:
        for name in layers:
            rounded = round_plainly(linears[name].weight, grid, recipe)
            yield Quantized(name, rounded, measure_error(linears[name].weight, rounded, None))
    for group in groups:
        assert group.hessian is not None
        hessian = group.hessian.matrix()
        weights = [linears[name].weight for name in group.layers]
        warnings = check_count(group.hessian.count, len(hessian), where := f"{block.name}.{group.layers[0]}")
        if recipe.method == "awq":
            found = [_clip(weight, hessian, grid, recipe) for weight in weights]
        else:
            found, more = _solve(weights, hessian, grid, recipe)
            warnings += [f"{where}: {warning}" for warning in more]
        for name, weight, rounded in zip(group.layers, weights, found, strict=True):
            yield Quantized(name, rounded, measure_error(weight, rounded, hessian), tuple(warnings))
            warnings = []


def put(linear: nn.Linear, weight: QuantizedWeight) -> None:
    """Give a layer the weight that its codes stand for."""
    linear.weight = nn.Parameter(weight.dequantize().to(linear.weight.dtype), requires_grad=False)


def round_plainly(weight: Tensor, grid: Grid, recipe: Recipe) -> QuantizedWeight:
    """Return the weight without help from data, in the recipe's type."""
    return fp8(weight, grid) if recipe.inputs == "fp8" else rtn(weight, grid)


def _solve(
    weights: list[Tensor], hessian: Tensor, grid: Grid, recipe: Recipe
) -> tuple[list[QuantizedWeight], list[str]]:  # fmt: skip
    """Run GPTQ once for layers that share their inputs: its rows are independent."""
    solution = gptq(
        torch.cat([weight.float() for weight in weights]),
        hessian,
        grid,
        damping=recipe.damping,
        act_order=recipe.act_order,
        clip_search=recipe.clip_search,
    )
    warnings = []
    if solution.is_rounded:
        warnings = ["the Hessian is not positive definite, so weights were rounded to nearest; check the text"]
    elif solution.damping > recipe.damping:
        warnings = [f"the Hessian is nearly singular: damping was raised to {solution.damping:.2f}"]
    return list(_split(solution.weight, [len(weight) for weight in weights])), warnings


def _split(whole: QuantizedWeight, sizes: list[int]) -> Iterator[QuantizedWeight]:
    """Yield the parts of a weight that has been stacked along its outputs."""
    assert whole.zeros is not None
    start = 0
    for size in sizes:
        rows = slice(start, start + size)
        yield QuantizedWeight(whole.codes[rows], whole.scales[rows], whole.zeros[rows], whole.grid)
        start += size


def _clip(weight: Tensor, hessian: Tensor, grid: Grid, recipe: Recipe) -> QuantizedWeight:
    """Round to nearest in ranges that are best for the outputs."""
    weight = weight.float()
    norm = awq.CLIP_NORM if recipe.clip_search else None
    parameters = fit(weight, grid, clip_norm=norm, importance=hessian.diagonal())
    return pack(encode(weight, parameters, grid), parameters, grid)


def measure_error(weight: Tensor, found: QuantizedWeight, hessian: Tensor | None) -> Error:
    """Return the error of the outputs: E||(W - W') x||^2 = tr((W - W') H (W - W')^T) / 2; of weights without H."""
    weight = weight.float()
    difference = weight - found.dequantize()
    if hessian is None:
        squared, whole, count, of = difference.pow(2).sum(), weight.pow(2).sum(), weight.numel(), "weights"
    else:
        squared, whole = (((each @ hessian) * each).sum() / 2 for each in (difference, weight))
        count, of = len(weight), "outputs"
    return Error(float(squared) / count, float(squared / whole.clamp(min=1e-30)), of)
