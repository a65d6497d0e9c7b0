"""Scaled channels, in real blocks: scaling alone changes no output, in any family."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from llm_quantize.algorithms.grid import Grid
from llm_quantize.checkpoint import Checkpoint
from llm_quantize.pipeline.block import Block
from llm_quantize.pipeline.skeleton import Skeleton
from llm_quantize.pipeline.smoothing import smooth
from llm_quantize.pipeline.structure import divide, norm_offset, scalings

FAMILIES = ("gemma", "llama", "mistral", "phi3", "qwen2", "qwen3")
TOKENS = torch.randint(0, 4096, (4, 64), generator=torch.Generator().manual_seed(0))


def second_block(family: str) -> tuple[Block, Tensor]:
    """Return a family's second block and its inputs."""
    model = Path("models/zoo") / family
    skeleton, weights = Skeleton(model, torch.device("cpu"), torch.float32), Checkpoint(model)
    hidden, arguments = skeleton.start(weights, TOKENS, batch=4)
    hidden = skeleton.load(0, weights, arguments[0]).run(hidden)
    return skeleton.load(1, weights, arguments[1]), hidden


@pytest.mark.parametrize("grid", [Grid(4, 32, symmetric=False), Grid(8)], ids=["awq", "smoothquant"])
@pytest.mark.parametrize("family", FAMILIES)
def test_scaling_changes_no_output(family: str, grid: Grid) -> None:
    block, hidden = second_block(family)
    before = block.run(hidden)
    chosen = smooth(block, hidden, grid, kept=set(), stored=torch.bfloat16)
    assert any(choice.parameter is not None for choice in chosen.values())
    torch.testing.assert_close(block.run(hidden), before, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_place_can_be_scaled_by_anything(family: str) -> None:
    block, hidden = second_block(family)
    before = block.run(hidden)
    places = scalings(block)
    assert len(places) >= 3
    for place in places:
        readers = [block.linears()[name] for name in place.readers]
        scales = torch.rand(readers[0].in_features, generator=torch.Generator().manual_seed(1)) + 0.5
        applied = divide(block.module.get_submodule(place.source), place.rows, scales, torch.bfloat16)
        for reader in readers:
            reader.weight *= applied
    torch.testing.assert_close(block.run(hidden), before, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("family", "offset"), [("gemma", 1.0), ("llama", 0.0)])
def test_what_a_norm_adds_to_its_weights(family: str, offset: float) -> None:
    block, _ = second_block(family)
    assert norm_offset(block.module.get_submodule("input_layernorm")) == offset


def test_a_norms_scales_follow_from_its_rounded_weights() -> None:
    block, _ = second_block("llama")
    norm = block.module.get_submodule("input_layernorm")
    before = norm.weight.clone()
    applied = divide(norm, slice(None), torch.full((64,), 1.7), torch.bfloat16)
    assert torch.equal(norm.weight, norm.weight.bfloat16().float())
    torch.testing.assert_close(norm.weight * applied, before, rtol=1e-6, atol=0)
