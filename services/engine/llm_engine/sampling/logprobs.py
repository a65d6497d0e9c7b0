"""How likely each token was: the model's own log-probabilities, before temperature, penalties and truncation.

As in vLLM: the chosen token comes first, then the likeliest ones, each with its rank (1: the likeliest).
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

from llm_engine.execution.transfer import HostCopy


class Logprob(NamedTuple):
    logprob: float
    """Natural logarithm."""
    rank: int


TokenLogprobs: TypeAlias = dict[int, Logprob]
"""Token id -> its log-probability at one place; the chosen token first."""


def of_rows(logits: Tensor, token_ids: list[int], num_logprobs: int) -> list[TokenLogprobs]:
    """`logits` [rows, vocabulary], the token chosen in each row -> chosen and likeliest tokens of each row."""
    return told(gather(logits, torch.tensor(token_ids, device=logits.device), num_logprobs))


def gather(logits: Tensor, tokens: Tensor, num_logprobs: int) -> HostCopy:
    """Start to copy the values that `told` needs to the host; `tokens` [rows]; -1 asks for the whole vocabulary."""
    every = logits.float().log_softmax(dim=-1)
    chosen = every.gather(1, tokens.unsqueeze(1))
    ranks = (every >= chosen).sum(dim=-1)
    count = logits.shape[-1] if num_logprobs == -1 else min(num_logprobs, logits.shape[-1])
    return HostCopy(tokens, chosen.squeeze(1), ranks, *every.topk(count, dim=-1))


def told(gathered: HostCopy) -> list[TokenLogprobs]:
    tokens, chosen, ranks, values, likeliest = (tensor.tolist() for tensor in gathered.wait())
    return [
        {token: Logprob(value, rank), **_others(token, best, scores)}
        for token, value, rank, best, scores in zip(tokens, chosen, ranks, likeliest, values, strict=True)
    ]


def _others(chosen: int, tokens: list[int], values: list[float]) -> TokenLogprobs:
    ranked = enumerate(zip(tokens, values, strict=True), start=1)
    return {token: Logprob(value, rank) for rank, (token, value) in ranked if token != chosen}
