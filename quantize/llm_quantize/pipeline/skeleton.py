"""A model without weights, into which one block at a time is loaded: a model larger than memory passes through.

transformers builds the modules on the device "meta", where tensors have shapes and no storage. The modules around the
blocks are small and loaded at once. One run with recorders in the blocks' places gives what goes into the first block,
and the arguments (masks, rotary embeddings) of each.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig, PreTrainedModel

from llm_quantize.checkpoint import Weights, read_json, with_prefix
from llm_quantize.errors import ModelError
from llm_quantize.pipeline.block import Block


class Skeleton:
    """A model whose blocks are loaded and dropped one by one."""

    def __init__(self, folder: Path, device: torch.device, dtype: torch.dtype) -> None:
        """Read the folder's config.json. ModelError if it is no causal model with blocks, or already quantised."""
        self.device, self.dtype = device, dtype
        self.config = read_config(folder)
        self.model = build(self.config, dtype)
        self.prefix, self._blocks = _find_blocks(self.model)
        self._check()

    def __len__(self) -> int:
        return len(self._blocks)

    def block_names(self) -> list[str]:
        return [f"{self.prefix}.{index}" for index in range(len(self))]

    def linears(self) -> Iterator[tuple[str, nn.Linear]]:
        """Yield the blocks' linear layers with their full names."""
        for path, module in self._blocks.named_modules(prefix=self.prefix):
            if isinstance(module, nn.Linear):
                yield path, module

    def _check(self) -> None:
        """Raise ModelError if a block has matrices that are no linear layers."""
        for name, block in zip(self.block_names(), self._blocks, strict=True):
            for path, module in block.named_modules():
                large = [each for each, value in module.named_parameters(recurse=False) if value.dim() > 1]
                if large and not isinstance(module, nn.Linear):
                    raise ModelError(
                        f"{name}.{path} is a {type(module).__name__}, which is not recognised; models whose blocks' "
                        "matrices are all linear layers can be quantised"
                    )

    def start(self, weights: Weights, tokens: Tensor, batch: int) -> tuple[Tensor, list[dict[str, Any]]]:
        """Return the first block's inputs [samples, length, hidden] and each block's further arguments.

        What stands around the blocks is in memory only meanwhile.
        """
        self._load_surroundings(weights)
        recorders = [_Recorder() for _ in self._blocks]
        parent = self.model.get_submodule(self.prefix.rpartition(".")[0])
        name = self.prefix.rpartition(".")[2]
        setattr(parent, name, nn.ModuleList(recorders))
        base = self.model.base_model
        try:
            with torch.inference_mode():
                base(tokens[:1].to(self.device), use_cache=False)
                arguments = [recorder.arguments for recorder in recorders]  # of one sequence, so they broadcast
                hidden = []
                for rows in torch.split(tokens, batch):
                    base(rows.to(self.device), use_cache=False)
                    hidden.append(recorders[0].hidden)
        finally:
            setattr(parent, name, self._blocks)
            for module, each, _ in self._around_blocks():
                setattr(module, each, nn.Parameter(getattr(module, each).to("meta"), requires_grad=False))
        return torch.cat(hidden), arguments

    def load(self, index: int, weights: Weights, arguments: dict[str, Any]) -> Block:
        """Return a block with its weights on the device."""
        name = self.block_names()[index]
        module = self._blocks[index]
        own = {each.removeprefix(f"{name}."): weights.get(each) for each in with_prefix(weights.names, name)}
        _assign(module, {key: value.to(self.device, self.dtype) for key, value in own.items()}, name)
        return Block(name, module, arguments)

    def drop(self, index: int) -> None:
        """Forget a block's weights."""
        self._blocks[index].to_empty(device="meta")

    def surroundings(self, weights: Weights) -> Iterator[str]:
        """Yield the names of the tensors that are in no block."""
        return (name for name in sorted(weights.names) if not name.startswith(f"{self.prefix}."))

    def _load_surroundings(self, weights: Weights) -> None:
        fill_buffers(self.model, self.device)
        for module, name, path in self._around_blocks():
            value = weights.get(path).to(self.device, self.dtype)
            setattr(module, name, nn.Parameter(value, requires_grad=False))

    def _around_blocks(self) -> Iterator[tuple[nn.Module, str, str]]:
        """Yield the parameters outside the blocks: module, name in it, full name."""
        for path, module in self.model.base_model.named_modules(prefix=self.model.base_model_prefix):
            if not f"{path}.".startswith(f"{self.prefix}."):
                for name in dict(module.named_parameters(recurse=False)):
                    yield module, name, f"{path}.{name}"


class _Recorder(nn.Module):
    """Stands in a block's place and notes what it is called with."""

    def forward(self, hidden: Tensor, **arguments: Any) -> Tensor:
        self.hidden, self.arguments = hidden, arguments
        return hidden


def read_config(folder: Path) -> PretrainedConfig:
    """Return the folder's configuration. ModelError if there is none, or the model is already quantised."""
    if not (folder / "config.json").is_file():
        raise ModelError(f"{folder} is no model folder: it has no config.json")
    given = read_json(folder / "config.json")
    if found := given.get("quantization_config"):
        raise ModelError(
            f"{folder} is already quantised ({found.get('quant_method', 'unknown')}); start from the full model"
        )
    try:
        return AutoConfig.from_pretrained(folder)
    except (ValueError, KeyError, OSError) as error:
        raise ModelError(f"{folder}/config.json is not one that transformers reads: {error}") from None


def build(config: PretrainedConfig, dtype: torch.dtype) -> PreTrainedModel:
    """Return the model on the device "meta". ModelError if it is no causal language model."""
    try:
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config, dtype=dtype)
    except ValueError as error:
        raise ModelError(f"{config.model_type} is not a causal language model: {error}") from None
    return model.eval()


def fill_buffers(model: PreTrainedModel, device: torch.device) -> None:
    """Compute the buffers that no checkpoint has (rotary frequencies), as transformers does after it has loaded one."""
    for module in model.modules():
        empty = [name for name, buffer in module.named_buffers(recurse=False) if buffer.is_meta]
        for name in empty:
            setattr(module, name, torch.empty_like(getattr(module, name), device=device))
        if empty:
            model._init_weights(module)


def _find_blocks(model: PreTrainedModel) -> tuple[str, nn.ModuleList]:
    """Return the name and the list of the model's blocks: the list with the most weights."""
    lists = [(name, module) for name, module in model.named_modules() if isinstance(module, nn.ModuleList)]
    if not lists:
        raise ModelError(f"{model.config.model_type} has no list of blocks, so it cannot be quantised block by block")
    return max(lists, key=lambda found: sum(weight.numel() for weight in found[1].parameters()))


def _assign(module: nn.Module, tensors: dict[str, Tensor], name: str) -> None:
    try:
        module.load_state_dict(tensors, strict=True, assign=True)
    except RuntimeError as error:
        raise ModelError(f"the weights of {name} do not fit config.json: {error}") from None
    module.requires_grad_(False)
