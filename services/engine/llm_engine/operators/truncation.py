"""Truncation (min-p, top-k, top-p) and the draw from the remaining tokens."""

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
"""Smallest top-p. One that float32 rounds to 0 would exclude even the most likely token."""
DrawRows: TypeAlias = Callable[[Tensor, list[SamplingParams], Array], Tensor]
"""`draw`, or a kernel that does the same."""


def scale(logits: Tensor, params: list[SamplingParams]) -> Tensor:
    """Divide logits by temperature, in float32. Greedy rows, which are not drawn, stay as they are."""
    return logits.float() / column([1.0 if p.is_greedy else p.temperature for p in params], logits)


def truncate(logits: Tensor, params: list[SamplingParams]) -> Tensor:
    """Mask the tokens that min-p, top-k and top-p exclude, in that order, in the rows that use them."""
    logits = mask_min_p(logits, params)
    rows = [row for row, p in enumerate(params) if truncates(p)]
    if not rows:
        return logits
    masked = _mask_top_k_top_p(logits[rows], [params[row] for row in rows])
    return logits.index_copy(0, torch.tensor(rows, device=logits.device), masked)


def truncates(params: SamplingParams) -> bool:
    """Return whether top-k or top-p is on."""
    return params.top_k > 0 or params.top_p < 1


def mask_min_p(logits: Tensor, params: list[SamplingParams]) -> Tensor:
    """Keep tokens at least `min_p` times as likely as the most likely one."""
    if not any(p.min_p for p in params):
        return logits
    floor = logits.amax(dim=-1, keepdim=True) + column([p.min_p for p in params], logits).log()
    return logits.masked_fill(logits < floor, MASKED)


def _mask_top_k_top_p(logits: Tensor, params: list[SamplingParams]) -> Tensor:
    """Keep the k most likely tokens, and of these the fewest whose probabilities sum to p (Holtzman et al., 2020)."""
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
    """Return for each row the token at which its cumulative distribution passes its uniform number in [0, 1)."""
    return invert_at(probabilities, to_device([uniforms], probabilities.device)[0])


def invert_at(probabilities: Tensor, uniforms: Tensor) -> Tensor:
    """Do what `invert` does, with uniform numbers that are on the device."""
    cumulative = probabilities.cumsum(dim=-1)
    # Scale by the final sum, which rounding keeps from being 1. Search strictly above, to skip tokens of probability 0.
    targets = uniforms.to(cumulative).unsqueeze(-1) * cumulative[:, -1:]
    drawn = torch.searchsorted(cumulative, targets, right=True).squeeze(-1)
    return torch.minimum(drawn, cumulative.argmax(dim=-1))  # argmax: the first position of the final sum


def draw(logits: Tensor, params: list[SamplingParams], uniforms: Array) -> Tensor:
    """Draw one token per row of `logits` [rows, vocabulary]; `triton_backend.draw` does it in one kernel."""
    probabilities = truncate(scale(logits, params), params).softmax(dim=-1)
    return unless_greedy(invert(probabilities, uniforms), logits, params)


def unless_greedy(drawn: Tensor, logits: Tensor, params: list[SamplingParams]) -> Tensor:
    """Return the drawn tokens, or the most likely ones in greedy rows."""
    greedy = np.array([p.is_greedy for p in params])
    if not greedy.any():
        return drawn
    return torch.where(to_device([greedy], logits.device)[0], likeliest(logits), drawn)


def likeliest(logits: Tensor) -> Tensor:
    """Return the most likely token of each row, the first one among equals."""
    array = on_host(logits)
    return logits.argmax(dim=-1) if array is None else torch.from_numpy(array.argmax(axis=-1))


def peaks(logits: Tensor) -> Tensor:
    """Return the largest logit of each row; NaN if the row holds NaN."""
    array = on_host(logits)
    return logits.amax(dim=-1) if array is None else torch.from_numpy(array.max(axis=-1))


def on_host(tensor: Tensor) -> Array | None:
    """Return a numpy view of a CPU tensor in float32, else None. On small data numpy is several times faster."""
    return tensor.numpy() if tensor.device.type == "cpu" and tensor.dtype is torch.float32 else None


def column(values: list[float], like: Tensor) -> Tensor:
    """Return the values as a column [rows, 1] in float32, on the device of `like`."""
    return to_device([np.array(values, dtype=np.float32)], like.device)[0].unsqueeze(-1)
