"""The pass before the walk that finds the layers which keep 16 bits: each group of layers is rounded alone."""

from __future__ import annotations

from contextlib import ExitStack

from torch import Tensor

from llm_quantize.algorithms.grid import Grid
from llm_quantize.algorithms.sensitivity import Sensitivity
from llm_quantize.pipeline.block import Block, changed, gather
from llm_quantize.pipeline.methods import ROUND_INPUTS, round_plainly
from llm_quantize.settings import Recipe


def measure(block: Block, hidden: Tensor, recipe: Recipe, grid: Grid) -> tuple[Tensor, list[Sensitivity]]:
    """Return the block's outputs, and what each group of its layers costs if it alone is rounded."""
    linears = block.linears()
    outputs = block.run(hidden)
    change = (outputs - hidden).float().pow(2).sum()
    found = []
    for group in gather(block, hidden, tuple(linears), hessian=False):
        with ExitStack() as stack:
            for name in group.layers:
                rounded = round_plainly(linears[name].weight, grid, recipe).dequantize()
                stack.enter_context(changed(linears[name], rounded, ROUND_INPUTS[recipe.inputs]))
            error = (block.run(hidden) - outputs).float().pow(2).sum()
        names = tuple(f"{block.name}.{name}" for name in group.layers)
        weights = sum(linears[name].weight.numel() for name in group.layers)
        found.append(Sensitivity(names, float(error / change), weights))
    return outputs, found
