"""Rejection sampling of draft tokens: speculation changes the speed, but never the distribution of the output.

The acceptance rule: a draft x, drawn from q, is accepted with probability min(1, p(x) / q(x)), where p is the model's
distribution at that position. At the first rejected position a token is drawn from max(0, p - q), normalised. If all
drafts are accepted, one more token is drawn from p. A draft that was looked up and not drawn (n-grams) has q(x) = 1.
Under greedy sampling p is 1 at the most likely token.

Source: Leviathan et al., "Fast Inference from Transformers via Speculative Decoding", 2023.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Draft:
    """The guesses for one sequence. Its rows start at `first_row`: one per guess, and one for the token after them."""

    first_row: int
    token_ids: Sequence[int]
    probabilities: Tensor | None
    """[drafts, vocabulary] Distribution from which each guess was drawn. None: q(x) = 1."""


def accept_greedy(best: Sequence[int], drafts: Sequence[int]) -> list[int]:
    """Return the drafts up to the first wrong one, and then the right token.

    `best`: the most likely token at each position.
    """
    accepted = 0
    while accepted < len(drafts) and best[accepted] == drafts[accepted]:
        accepted += 1
    return list(best[: accepted + 1])


def accept(p: Tensor, drafts: list[Draft], uniforms: Sequence[float]) -> tuple[list[int], Tensor]:
    """Return how many tokens of each draft are accepted, and the distribution of the token after them.

    `p` [rows, vocabulary]: the model's distributions; `uniforms`: a number in [0, 1) for each draft token. The second
    result is [drafts, vocabulary].
    """
    accepted, finals, used = [], [], 0
    for draft in drafts:
        size = len(draft.token_ids)
        count = _count_accepted(p, draft, uniforms[used : used + size])
        accepted.append(count)
        finals.append(_final(p, draft, count))
        used += size
    return accepted, torch.stack(finals)


def _count_accepted(p: Tensor, draft: Draft, uniforms: Sequence[float]) -> int:
    if not draft.token_ids:
        return 0
    places = torch.arange(len(draft.token_ids), device=p.device)
    tokens = torch.tensor(draft.token_ids, device=p.device)
    wanted = p[draft.first_row + places, tokens].tolist()
    given = [1.0] * len(wanted) if draft.probabilities is None else draft.probabilities[places, tokens].tolist()
    for place, (target, proposal, uniform) in enumerate(zip(wanted, given, uniforms, strict=True)):
        if uniform * proposal >= target:
            return place
    return len(wanted)


def _final(p: Tensor, draft: Draft, accepted: int) -> Tensor:
    row = p[draft.first_row + accepted]
    if accepted == len(draft.token_ids):
        return row
    if draft.probabilities is None:
        rest = row.clone()
        rest[draft.token_ids[accepted]] = 0
    else:
        rest = (row - draft.probabilities[accepted]).clamp_(min=0)
    total = rest.sum()  # 0 if rounding leaves nothing
    return torch.where(total > 0, rest / total, row)
