"""The treatment of one block: scale its channels, gather what its layers read, round them, pack the codes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from llm_quantize.algorithms.grid import Grid
from llm_quantize.algorithms.kv_cache import Ranges
from llm_quantize.errors import ModelError
from llm_quantize.formats import Format
from llm_quantize.formats.registry import split_layers
from llm_quantize.pipeline.block import Block, changed, gather
from llm_quantize.pipeline.methods import ROUND_INPUTS, Quantized, grid_for, put, quantize_layers
from llm_quantize.pipeline.record import BlockRecord, LayerRecord
from llm_quantize.pipeline.smoothing import smooth
from llm_quantize.settings import Recipe

SCALES_CHANNELS = ("awq", "smoothquant")
NEEDS_HESSIANS = ("gptq", "rotation", "awq")


@dataclass(frozen=True)
class Step:
    """The treatment that all blocks get."""

    recipe: Recipe
    format: Format
    stored: torch.dtype
    """Type of what is not quantised, and of scales, in the checkpoint."""
    kept: frozenset[str]
    """Layers that keep 16 bits, by their full names."""

    @property
    def grid(self) -> Grid:
        return grid_for(self.recipe, self.stored)

    def quantize(self, block: Block, hidden: Tensor | None) -> tuple[dict[str, Tensor], BlockRecord]:
        """Return the block's tensors in the format, and its record. Its weights become what their codes stand for.

        `hidden` are its inputs [samples, length, hidden]; None for methods that read no text.
        """
        layers = self._layers(block)
        scaled = self._smooth(block, hidden)
        groups = []
        if hidden is not None and self.recipe.method in NEEDS_HESSIANS:
            groups = gather(block, hidden, layers)
        found = list(quantize_layers(block, layers, groups, self.recipe, grid=self.grid))
        tensors = dict(self._tensors(block, found))
        if self.recipe.kv_cache and hidden is not None:
            tensors |= _cache_scales(block, hidden)
        record = BlockRecord(
            layers=[self._record(block, each) for each in found],
            kept=sorted(f"{block.name}.{name}" for name in block.linears().keys() - set(layers)),
            scaled=scaled,
            warnings=[warning for each in found for warning in each.warnings],
        )
        return tensors, record

    def restore(self, block: Block, tensors: dict[str, Tensor]) -> None:
        """Give a block what an earlier run wrote of it."""
        own = {name.removeprefix(f"{block.name}."): tensor for name, tensor in tensors.items()}
        for name, weight in split_layers(own, self.format, self.grid).items():
            put(block.linears()[name], weight)
        state = block.module.state_dict()
        for name in state.keys() & own.keys():
            state[name].copy_(own[name])

    def run(self, block: Block, hidden: Tensor) -> Tensor:
        """Return the block's outputs as an engine computes them, with rounded inputs if the method rounds them."""
        with ExitStack() as stack:
            for name in self._layers(block):
                linear = block.linears()[name]
                stack.enter_context(changed(linear, linear.weight, ROUND_INPUTS[self.recipe.inputs]))
            return block.run(hidden)

    def cast(self, name: str, tensor: Tensor) -> Tensor:
        """Return a tensor in the type in which it is stored. ModelError if that cannot hold it."""
        cast = tensor.to(self.stored) if tensor.is_floating_point() else tensor
        if not bool(cast.isfinite().all()):
            raise ModelError(f"{name} has values that {self.stored} cannot hold; use the format compressed-tensors")
        return cast

    def _layers(self, block: Block) -> list[str]:
        return [name for name in block.linears() if f"{block.name}.{name}" not in self.kept]

    def _smooth(self, block: Block, hidden: Tensor | None) -> dict[str, float | None]:
        if hidden is None or self.recipe.method not in SCALES_CHANNELS:
            return {}
        kept = block.linears().keys() - set(self._layers(block))
        chosen = smooth(block, hidden, self.grid, kept=set(kept), stored=self.stored)
        return {f"{block.name}.{name}": choice.parameter for name, choice in chosen.items()}

    def _tensors(self, block: Block, found: list[Quantized]) -> Iterator[tuple[str, Tensor]]:
        for each in found:
            put(block.linears()[each.name], each.weight)
            for suffix, tensor in self.format.write(each.weight, self.recipe.inputs).items():
                yield f"{block.name}.{each.name}.{suffix}", tensor
        quantized = {f"{each.name}.weight" for each in found}
        for name, tensor in block.module.state_dict().items():
            if name not in quantized:
                yield f"{block.name}.{name}", self.cast(name, tensor)

    def _record(self, block: Block, found: Quantized) -> LayerRecord:
        return LayerRecord(
            name=f"{block.name}.{found.name}",
            **asdict(found.error),
            bits=self.recipe.bits,
            group_size=self.recipe.group_size,
        )


def _cache_scales(block: Block, hidden: Tensor) -> dict[str, Tensor]:
    ranges = Ranges()
    block.run(hidden, past_key_values=ranges)
    keys, values = ranges.scales()
    return {f"{block.name}.self_attn.k_scale": keys, f"{block.name}.self_attn.v_scale": values}
