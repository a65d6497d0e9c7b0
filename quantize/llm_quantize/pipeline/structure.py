"""Which layer reads what, in the blocks of the families that the engine serves.

Methods that only round need no more than the linear layers. Those that scale channels or rotate them must know what
stands before a layer: a norm, or another layer. Projections can be separate or fused (Phi-3).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from llm_quantize.errors import ModelError
from llm_quantize.pipeline.block import Block

ATTENTION, MLP = "self_attn", "mlp"
INPUT_NORM, MLP_NORM = "input_layernorm", "post_attention_layernorm"


@dataclass(frozen=True, slots=True)
class Scaling:
    """A place where channels can be scaled: divided where they are made, multiplied where they are read."""

    source: str
    """The norm or linear layer that makes the channels."""
    rows: slice
    """Those of its outputs that they are."""
    readers: tuple[str, ...]
    inspected: str
    """The module whose output shows the error."""


def scalings(block: Block) -> list[Scaling]:
    """Return the block's places. ModelError if it is not built like the known families."""
    linears = block.linears()
    qkv = _present(block, ATTENTION, ("q_proj", "k_proj", "v_proj"), "qkv_proj")
    gate_up = _present(block, MLP, ("gate_proj", "up_proj"), "gate_up_proj")
    everything = slice(None)
    found = [Scaling(INPUT_NORM, everything, qkv, ATTENTION)]
    o, down = f"{ATTENTION}.o_proj", f"{MLP}.down_proj"
    values = _last_rows(linears[qkv[-1]], linears[o].in_features, 3 if len(qkv) == 1 else 1)
    if values is not None:
        found.append(Scaling(qkv[-1], values, (o,), o))
    found.append(Scaling(MLP_NORM, everything, gate_up, MLP))
    up = _last_rows(linears[gate_up[-1]], linears[down].in_features, 2 if len(gate_up) == 1 else 1)
    if up is not None:
        found.append(Scaling(gate_up[-1], up, (down,), down))
    return found


def norm_offset(norm: nn.Module) -> float:
    """Return what a norm adds to its weights: 1 in Gemma, else 0. With weights of 0 only an offset lets values pass."""
    weight: Tensor = norm.weight  # type: ignore[assignment]
    norm.weight = nn.Parameter(torch.zeros_like(weight), requires_grad=False)
    with torch.inference_mode():
        passed = bool(norm(torch.ones(1, len(weight), dtype=weight.dtype, device=weight.device)).any())
    norm.weight = nn.Parameter(weight, requires_grad=False)
    return 1.0 if passed else 0.0


def divide(module: nn.Module, rows: slice, scales: Tensor, stored: torch.dtype) -> Tensor:
    """Divide the outputs `rows` of a norm or a linear layer by `scales`, and return the scales that were applied.

    A norm's weights are rounded to the type in which they are `stored`, and the scales follow from what they became, so
    that rounding changes nothing.
    """
    if isinstance(module, nn.Linear):
        module.weight[rows] /= scales[:, None].to(module.weight.dtype)
        if module.bias is not None:
            module.bias[rows] /= scales.to(module.bias.dtype)
        return scales
    weight: Tensor = module.weight  # type: ignore[assignment]
    offset = norm_offset(module)
    before = weight.float() + offset
    after = (before / scales - offset).to(stored).float()
    is_usable = (before != 0) & (after + offset != 0)
    module.weight = nn.Parameter(torch.where(is_usable, after, weight.float()).to(weight.dtype), requires_grad=False)
    return torch.where(is_usable, before / (after + offset), 1.0)


def _present(block: Block, part: str, separate: tuple[str, ...], fused: str) -> tuple[str, ...]:
    for names in (separate, (fused,)):
        paths = tuple(f"{part}.{name}" for name in names)
        if block.linears().keys() >= set(paths):
            return paths
    raise ModelError(
        f"{block.name}.{part} has neither {', '.join(separate)} nor {fused}, so awq, smoothquant and rotation "
        "cannot tell what reads what; rtn, gptq, w8a8 and fp8 need no such order"
    )


def _last_rows(source: nn.Linear, wanted: int, parts: int) -> slice | None:
    """Return the last of the `parts` that are stacked in `source`; None if it has not the `wanted` outputs.

    Values and `up` come last in fused projections. Values that several query heads share are fewer than o_proj reads.
    """
    return slice(source.out_features - wanted, None) if source.out_features == parts * wanted else None
