"""Log-probabilities of tokens under the model itself, before temperature, penalties and truncation.

As in vLLM, the chosen token comes first, then the most likely ones, each with its rank (1: the most likely).
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

from llm_engine.execution.transfer import HostCopy


class Logprob(NamedTuple):
    """One token's log-probability and its rank among all tokens."""

    logprob: float
    """Natural logarithm."""
    rank: int


TokenLogprobs: TypeAlias = dict[int, Logprob]
"""Token id -> its log-probability at one position. The chosen token comes first."""


def of_rows(logits: Tensor, token_ids: list[int], num_logprobs: int) -> list[TokenLogprobs]:
    """Return the log-probabilities of each row's chosen and most likely tokens.

    `logits` [rows, vocabulary]; `token_ids` [rows]: the chosen tokens.
    """
    return collect(gather(logits, torch.tensor(token_ids, device=logits.device), num_logprobs))


def gather(logits: Tensor, tokens: Tensor, num_logprobs: int) -> HostCopy:
    """Compute the values that `collect` needs and start to copy them to the host, without waiting for the device.

    `logits` [rows, vocabulary]; `tokens` [rows]: the chosen tokens; `num_logprobs` -1: the whole vocabulary.
    """
    every = logits.float().log_softmax(dim=-1)
    chosen = every.gather(1, tokens.unsqueeze(1))
    ranks = (every >= chosen).sum(dim=-1)
    count = logits.shape[-1] if num_logprobs == -1 else min(num_logprobs, logits.shape[-1])
    return HostCopy(tokens, chosen.squeeze(1), ranks, *every.topk(count, dim=-1))


def collect(gathered: HostCopy) -> list[TokenLogprobs]:
    """Wait for the values of `gather` and return them by row."""
    tokens, chosen, ranks, values, likeliest = (tensor.tolist() for tensor in gathered.wait())
    return [
        {token: Logprob(value, rank), **_others(token, best, scores)}
        for token, value, rank, best, scores in zip(tokens, chosen, ranks, likeliest, values, strict=True)
    ]


def _others(chosen: int, tokens: list[int], values: list[float]) -> TokenLogprobs:
    ranked = enumerate(zip(tokens, values, strict=True), start=1)
    return {token: Logprob(value, rank) for rank, (token, value) in ranked if token != chosen}
