"""One block of a model, with its weights, and the statistics of what its layers read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from llm_quantize.algorithms.gptq import Hessian

BATCH_TOKENS = 4096


@dataclass
class Block:
    name: str
    """As in the checkpoint: `model.layers.3`."""
    module: nn.Module
    arguments: dict[str, Any]
    """Arguments that the model gives the block besides the hidden states."""

    def linears(self) -> dict[str, nn.Linear]:
        """Return the linear layers by their names within the block."""
        return {name: module for name, module in self.module.named_modules() if isinstance(module, nn.Linear)}

    def run(self, hidden: Tensor, **changes: Any) -> Tensor:
        """Return the block's outputs [samples, length, hidden], computed a few sequences at a time."""
        return torch.cat([self.forward(part, **changes) for part in batches(hidden)])

    def forward(self, hidden: Tensor, **changes: Any) -> Tensor:
        """Return the outputs of a batch."""
        with torch.inference_mode():
            out = self.module(hidden, **(self.arguments | changes))
        outputs: Tensor = out[0] if isinstance(out, tuple) else out
        return outputs


def batches(hidden: Tensor) -> tuple[Tensor, ...]:
    """Return `hidden` [samples, length, hidden] in parts of a few sequences."""
    return torch.split(hidden, max(1, BATCH_TOKENS // hidden.shape[1]))


@dataclass
class SharedInputs:
    """Layers that read the same inputs, and what these are like."""

    layers: list[str] = field(default_factory=list)
    hessian: Hessian | None = None
    sum: Tensor | None = None
    """[in]: sum of |x| over all tokens."""
    largest: Tensor | None = None
    """[in]: largest |x|."""

    def add(self, x: Tensor, hessian: bool) -> None:
        """Add inputs [..., in]."""
        rows = x.reshape(-1, x.shape[-1]).float()
        if self.hessian is None:
            self.hessian = Hessian(rows.shape[1], rows.device)
        if hessian:
            self.hessian.add(rows)
            return
        self.hessian.count += len(rows)
        total, largest = rows.abs().sum(dim=0), rows.abs().amax(dim=0)
        self.sum = total if self.sum is None else self.sum + total
        self.largest = largest if self.largest is None else torch.maximum(self.largest, largest)


class _Enough(Exception):
    """Stops a forward pass once every layer has been reached."""


def gather(block: Block, hidden: Tensor, layers: Sequence[str], *, hessian: bool = True) -> list[SharedInputs]:
    """Run the block up to the last of the layers, and return the statistics of what they read.

    Layers that read one tensor share them.
    """
    linears = block.linears()
    groups: list[SharedInputs] = []
    of_layer: dict[str, SharedInputs] = {}
    seen: list[tuple[Tensor, SharedInputs]] = []  # of the first batch; kept alive, so that no address is used twice

    def note(name: str, x: Tensor) -> None:
        group = of_layer.get(name)
        if group is None:
            group = next((group for other, group in seen if other is x), None)
            if group is None:
                groups.append(group := SharedInputs())
                seen.append((x, group))
            of_layer[name] = group
            group.layers.append(name)
        if group.layers[0] == name:
            group.add(x, hessian)
        awaited.discard(name)
        if not awaited:
            raise _Enough

    with ExitStack() as hooks:
        for name in layers:
            hooks.enter_context(_before(linears[name], partial(note, name)))
        for batch in batches(hidden):
            awaited = set(layers)
            with suppress(_Enough):
                block.forward(batch)
    return groups


@contextmanager
def changed(linear: nn.Linear, weight: Tensor, change_input: Callable[[Tensor], Tensor] | None) -> Iterator[None]:
    """Give a layer another weight, and change its inputs, within the `with` block."""
    own = linear.weight
    linear.weight = nn.Parameter(weight.to(own.dtype), requires_grad=False)
    try:
        if change_input is None:
            yield
        else:
            with _before(linear, change_input):
                yield
    finally:
        linear.weight = own


@contextmanager
def _before(module: nn.Module, act: Callable[[Tensor], Tensor | None]) -> Iterator[None]:
    """Call `act` with the module's input before each run; what it returns, if anything, takes the input's place."""

    def hook(_: nn.Module, inputs: tuple[Tensor, ...]) -> Tensor | None:
        return act(inputs[0])

    handle = module.register_forward_pre_hook(hook)
    try:
        yield
    finally:
        handle.remove()
