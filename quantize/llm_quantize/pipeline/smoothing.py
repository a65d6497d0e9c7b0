"""Scale a block's channels before it is rounded, as AWQ and SmoothQuant do."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from llm_quantize.algorithms import awq, smoothquant
from llm_quantize.algorithms.activations import round_int8
from llm_quantize.algorithms.grid import Grid
from llm_quantize.algorithms.rtn import rtn
from llm_quantize.algorithms.scaling import Choice, choose
from llm_quantize.pipeline.block import Block, SharedInputs, changed, gather
from llm_quantize.pipeline.structure import Scaling, divide, scalings

SEARCH_TOKENS = 4096
"""Tokens on which scales are compared."""


@dataclass(frozen=True)
class Call:
    """A call of a module, and what it returned."""

    arguments: tuple[Any, ...]
    keywords: dict[str, Any]
    output: Tensor


def smooth(block: Block, hidden: Tensor, grid: Grid, *, kept: set[str], stored: torch.dtype) -> dict[str, Choice]:
    """Scale the block's channels in place, wherever that lessens the error, and return what was chosen.

    A grid of 8 bits is SmoothQuant's, whose inputs are rounded as well; fewer are AWQ's. `stored` is the type in which
    norms are stored. Layers that are `kept` in 16 bits are left alone.
    """
    places = [place for place in scalings(block) if not kept.intersection(place.readers)]
    if grid.bits == 8:
        places = [place for place in places if not isinstance(block.module.get_submodule(place.source), nn.Linear)]
    readers = [name for place in places for name in place.readers]
    statistics = {group.layers[0]: group for group in gather(block, hidden, readers, hessian=False)}
    calls = _record(block, hidden, [place.inspected for place in places])
    chosen = {}
    for place in places:
        choice = _search(block, place, statistics[place.readers[0]], calls[place.inspected], grid=grid)
        if choice.parameter is not None:
            _apply(block, place, choice.scales, stored)
        chosen[place.source] = choice
    return chosen


def _search(block: Block, place: Scaling, inputs: SharedInputs, calls: list[Call], *, grid: Grid) -> Choice:
    """Return the scales with the least squared error of the inspected module's output."""
    linears = block.linears()
    readers = [linears[name] for name in place.readers]
    weights = [reader.weight for reader in readers]
    assert inputs.sum is not None
    assert inputs.largest is not None
    assert inputs.hessian is not None
    if grid.bits == 8:
        candidates = smoothquant.candidates(inputs.largest, weights)
    else:
        candidates = awq.candidates(inputs.sum / inputs.hessian.count, weights, grid)
    module = block.module.get_submodule(place.inspected)
    rounds = grid.bits == 8

    def loss(scales: Tensor) -> float:
        with ExitStack() as stack, torch.inference_mode():
            for reader in readers:
                rounded = rtn(reader.weight * scales, grid).dequantize()
                stack.enter_context(changed(reader, rounded, _divider(scales, rounds)))
            errors = [
                (_output(module(*call.arguments, **call.keywords)) - call.output).float().pow(2).sum() for call in calls
            ]
        return float(torch.stack(errors).sum())

    return choose(candidates, loss)


def _divider(scales: Tensor, rounds: bool) -> Callable[[Tensor], Tensor]:
    return lambda x: round_int8(x / scales.to(x.dtype)) if rounds else x / scales.to(x.dtype)


def _apply(block: Block, place: Scaling, scales: Tensor, stored: torch.dtype) -> None:
    applied = divide(block.module.get_submodule(place.source), place.rows, scales, stored)
    for name in place.readers:
        linear = block.linears()[name]
        linear.weight *= applied.to(linear.weight.dtype)


def _record(block: Block, hidden: Tensor, modules: list[str]) -> dict[str, list[Call]]:
    """Run the block on a part of the sequences, and return the calls of its modules."""
    calls: dict[str, list[Call]] = {name: [] for name in modules}
    with ExitStack() as stack:
        for name in calls:
            handle = block.module.get_submodule(name).register_forward_hook(_noter(calls[name]), with_kwargs=True)
            stack.callback(handle.remove)
        block.run(hidden[: max(1, SEARCH_TOKENS // hidden.shape[1])])
    return calls


def _noter(calls: list[Call]) -> Callable[..., None]:
    def note(_: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any], output: Any) -> None:
        calls.append(Call(arguments, keywords, _output(output)))

    return note


def _output(result: Any) -> Tensor:
    found: Tensor = result[0] if isinstance(result, tuple) else result
    return found
