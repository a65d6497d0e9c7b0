"""How a step of guesses chooses tokens, on the device: the most likely ones, or drawn ones by rejection sampling.

Both do what `operators.rejection` does for one sequence after another, with the same random numbers, for all sequences
at once and without a wait for the device.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from llm_engine.operators.truncation import invert_at


class Choices(Protocol):
    """The choices of one step."""

    def guess(self, logits: Tensor, depth: int) -> Tensor:
        """Choose the guesses of round `depth` from the draft model's logits [sequences, vocabulary]."""
        ...

    def accept(self, logits: Tensor, drafts: Tensor, limits: Tensor) -> tuple[Tensor, Tensor]:
        """Return the tokens [num_drafts + 1, sequences], and how many of each sequence's are accepted guesses.

        `logits` [num_drafts + 1, sequences, vocabulary] of the main model; `drafts` [num_drafts, sequences]; `limits`
        [sequences]: how many of its drafts are guesses. The tokens after the first one that is no guess are arbitrary.
        """
        ...


class Likeliest:
    """The choices of greedy sequences."""

    def guess(self, logits: Tensor, depth: int) -> Tensor:
        return logits.argmax(dim=-1)

    def accept(self, logits: Tensor, drafts: Tensor, limits: Tensor) -> tuple[Tensor, Tensor]:
        best = logits.argmax(dim=-1)
        return best, _count(best[:-1] == drafts, limits)


class Drawn:
    """The choices of sequences with a temperature. Those with temperature 0 among them are greedy."""

    def __init__(self, numbers: Tensor, num_drafts: int) -> None:
        """Take for each sequence its temperature, then uniform numbers: see `columns`."""
        self._temperatures = numbers[:, 0].float()
        self._greedy = self._temperatures == 0
        parts = torch.split(numbers[:, 1:], [num_drafts, num_drafts, num_drafts + 1], dim=1)
        self._for_drafts, self._for_acceptance, self._for_tokens = (part.T for part in parts)
        self._proposals: list[Tensor] = []
        """[sequences, vocabulary] The distribution from which each round drew."""

    def guess(self, logits: Tensor, depth: int) -> Tensor:
        proposal = self._distribution(logits)
        self._proposals.append(proposal)
        return logits.argmax(dim=-1).where(self._greedy, invert_at(proposal, self._for_drafts[depth]))

    def accept(self, logits: Tensor, drafts: Tensor, limits: Tensor) -> tuple[Tensor, Tensor]:
        best, p, q = logits.argmax(dim=-1), self._distribution(logits), torch.stack(self._proposals)
        wanted, given = (_at(each, drafts).double() for each in (p[:-1], q))
        right = (best[:-1] == drafts).where(self._greedy, self._for_acceptance * given < wanted)
        count = _count(right, limits)
        last = invert_at(self._final(p, q, count, limits), _row(self._for_tokens, count))
        last = _row(best, count).where(self._greedy, last)
        places = torch.arange(len(best), device=best.device).unsqueeze(1)
        return torch.cat((drafts, drafts[-1:])).where(places < count, last), count

    def _distribution(self, logits: Tensor) -> Tensor:
        scales = self._temperatures.masked_fill(self._greedy, 1)
        return (logits.float() / scales.unsqueeze(1)).softmax(dim=-1)

    def _final(self, p: Tensor, q: Tensor, count: Tensor, limits: Tensor) -> Tensor:
        """Return the distribution [sequences, vocabulary] of the token after the accepted guesses."""
        row = _row(p, count)
        rest = (row - _row(q, count.clamp(max=len(q) - 1))).clamp_(min=0)
        total = rest.sum(dim=-1, keepdim=True)  # 0 if rounding leaves nothing
        return (rest / total).where((total > 0) & (count < limits).unsqueeze(1), row)


def columns(num_drafts: int) -> int:
    """Return how many numbers `Drawn` takes.

    A temperature, a number for each draft, one for its acceptance, and one for a token of the main model at each place.
    """
    return 1 + num_drafts + num_drafts + num_drafts + 1


def _count(right: Tensor, limits: Tensor) -> Tensor:
    """Return how many guesses of each sequence come before the first wrong one. `right` [num_drafts, sequences]."""
    places = torch.arange(len(right), device=right.device).unsqueeze(1)
    return (right & (places < limits)).long().cumprod(dim=0).sum(dim=0)


def _at(probabilities: Tensor, tokens: Tensor) -> Tensor:
    """Return the probabilities [places, sequences] of `tokens`, from [places, sequences, vocabulary]."""
    return probabilities.gather(-1, tokens.unsqueeze(-1)).squeeze(-1)


def _row(values: Tensor, places: Tensor) -> Tensor:
    """Return each sequence's values at its place: [places, sequences, …] -> [sequences, …]."""
    return values[places, torch.arange(len(places), device=places.device)]
