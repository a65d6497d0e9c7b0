"""min-p, top-k and top-p: which tokens may be drawn at all, and one draw from those that may."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from llm_engine.execution.transfer import Array, to_device
from llm_engine.sampling.params import SamplingParams

MASKED = float("-inf")
SMALLEST = float(np.finfo(np.float32).tiny)
"""Stands for a top-p that float32 rounds to 0, which would exclude even the likeliest token."""
DrawRows: TypeAlias = Callable[[Tensor, list[SamplingParams], Array], Tensor]
"""`draw`, or kernels that do the same."""


def scale(logits: Tensor, params: list[SamplingParams]) -> Tensor:
    """float32 logits over temperature; those of greedy rows, which are not drawn, as they are."""
    return logits.float() / column([1.0 if p.is_greedy else p.temperature for p in params], logits)


def truncate(logits: Tensor, params: list[SamplingParams]) -> Tensor:
    """Mask what min-p, top-k and top-p exclude, in that order; rows that ask for none are left as they are."""
    logits = mask_min_p(logits, params)
    rows = [row for row, p in enumerate(params) if truncates(p)]
    if not rows:
        return logits
    masked = _mask_top_k_top_p(logits[rows], [params[row] for row in rows])
    return logits.index_copy(0, torch.tensor(rows, device=logits.device), masked)


def truncates(params: SamplingParams) -> bool:
    """By top-k or top-p."""
    return params.top_k > 0 or params.top_p < 1


def mask_min_p(logits: Tensor, params: list[SamplingParams]) -> Tensor:
    """Keep tokens at least `min_p` times as likely as the likeliest."""
    if not any(p.min_p for p in params):
        return logits
    floor = logits.amax(dim=-1, keepdim=True) + column([p.min_p for p in params], logits).log()
    return logits.masked_fill(logits < floor, MASKED)


def _mask_top_k_top_p(logits: Tensor, params: list[SamplingParams]) -> Tensor:
    """Keep the k likeliest, and of these the fewest that reach probability p together (Holtzman et al., 2020)."""
    size = logits.shape[-1]
    ordered, order = logits.sort(dim=-1, descending=True)
    k = torch.tensor([p.top_k if 0 < p.top_k < size else size for p in params], device=logits.device).unsqueeze(-1)
    ordered = ordered.masked_fill(torch.arange(size, device=logits.device) >= k, MASKED)
    probabilities = ordered.softmax(dim=-1)
    before = probabilities.cumsum(dim=-1) - probabilities
    top_p = column([max(p.top_p, SMALLEST) for p in params], logits)
    ordered = ordered.masked_fill((before >= top_p) & (top_p < 1), MASKED)
    return torch.empty_like(logits).scatter_(-1, order, ordered)


def invert(probabilities: Tensor, uniforms: Array) -> Tensor:
    """[rows] The token at which each row's cumulative distribution passes its uniform number in [0, 1)."""
    cumulative = probabilities.cumsum(dim=-1)
    (numbers,) = to_device([uniforms], probabilities.device)
    # Scaled by the last sum, which rounding keeps off 1; strictly above, so that no token of probability 0 is hit.
    targets = numbers.to(cumulative).unsqueeze(-1) * cumulative[:, -1:]
    drawn = torch.searchsorted(cumulative, targets, right=True).squeeze(-1)
    return torch.minimum(drawn, cumulative.argmax(dim=-1))  # argmax: the first place of the final sum


def draw(logits: Tensor, params: list[SamplingParams], uniforms: Array) -> Tensor:
    """[rows] One token of each row of logits, in plain torch; `triton_backend` has it in one kernel."""
    probabilities = truncate(scale(logits, params), params).softmax(dim=-1)
    return unless_greedy(invert(probabilities, uniforms), logits, params)


def unless_greedy(drawn: Tensor, logits: Tensor, params: list[SamplingParams]) -> Tensor:
    """Return the drawn tokens, and for greedy rows the likeliest ones."""
    greedy = np.array([p.is_greedy for p in params])
    if not greedy.any():
        return drawn
    return torch.where(to_device([greedy], logits.device)[0], likeliest(logits), drawn)


def likeliest(logits: Tensor) -> Tensor:
    """[rows] The first of the largest of each row."""
    array = on_host(logits)
    return logits.argmax(dim=-1) if array is None else torch.from_numpy(array.argmax(axis=-1))


def peaks(logits: Tensor) -> Tensor:
    """[rows] The largest of each row; NaN if any is NaN."""
    array = on_host(logits)
    return logits.amax(dim=-1) if array is None else torch.from_numpy(array.max(axis=-1))


def on_host(tensor: Tensor) -> Array | None:
    """The tensor as numpy sees it, where it can: on a CPU small things cost torch several times as much."""
    return tensor.numpy() if tensor.device.type == "cpu" and tensor.dtype is torch.float32 else None


def column(values: list[float], like: Tensor) -> Tensor:
    """[rows, 1] float32"""
    return to_device([np.array(values, dtype=np.float32)], like.device)[0].unsqueeze(-1)
