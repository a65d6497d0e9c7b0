"""From logits to a token: what each sampling parameter does to the distribution that the token is drawn from.

The order is vLLM's and the engine's: penalties, temperature, min-p, top-k, top-p, draw. A mask says which tokens are
kept; the others get a logit of minus infinity, so that softmax gives them nothing and the rest more.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Row = npt.NDArray[np.float64]
"""[vocabulary]"""
Mask = npt.NDArray[np.bool_]
"""[vocabulary] True for a token that can be drawn."""


def probabilities(logits: Row, temperature: float = 1.0) -> Row:
    """Return softmax(logits / temperature). Logits of minus infinity get 0, and large ones do not overflow."""
    # region exercise: subtract the largest logit before the exponential
    scaled = logits / temperature
    weights = np.exp(scaled - scaled.max())
    return weights / weights.sum()
    # endregion


def masked(logits: Row, mask: Mask) -> Row:
    """Return the logits, minus infinity where the mask is False."""
    return np.where(mask, logits, -np.inf)


def min_p_mask(logits: Row, min_p: float) -> Mask:
    """Keep the tokens that are at least `min_p` times as likely as the likeliest."""
    # region exercise: compare probabilities; the sum of all need not be known
    chances = probabilities(logits)
    return chances >= min_p * chances.max()
    # endregion


def top_k_mask(logits: Row, k: int) -> Mask:
    """Keep the k likeliest tokens; of equal ones, those with the smaller id. All, if k is 0 or more than there are."""
    # region exercise: rank the tokens, the likeliest first; a stable sort settles ties
    order = np.argsort(-logits, kind="stable")
    mask = np.zeros(len(logits), dtype=bool)
    mask[order[: k or len(logits)]] = True
    return mask
    # endregion


def top_p_mask(logits: Row, p: float) -> Mask:
    """Keep the fewest tokens that reach probability p together, the likeliest first; always at least one.

    The token that takes the sum to p or over it is kept. With p = 1 all are. (Holtzman et al., 2020: nucleus sampling.)
    """
    # region exercise: in the order of likelihood, keep a token while the sum before it is below p
    if p >= 1:
        return np.ones(len(logits), dtype=bool)
    chances = probabilities(logits)
    order = np.argsort(-chances, kind="stable")
    before = np.cumsum(chances[order]) - chances[order]
    mask = np.zeros(len(logits), dtype=bool)
    mask[order] = before < p
    mask[order[0]] = True
    return mask
    # endregion


def penalised(logits: Row, counts: npt.NDArray[np.int64], *, presence: float = 0.0, frequency: float = 0.0) -> Row:
    """Return the logits less `presence` for a token that was written, and less `frequency` for each time it was.

    `counts` [vocabulary]: how often each token stands in the output so far.
    """
    # region exercise: two subtractions
    return logits - presence * (counts > 0) - frequency * counts
    # endregion


def entropy(chances: Row) -> float:
    """Return the entropy in bits: about how many yes-or-no questions the next token is away. 0 log 0 is 0."""
    # region exercise: minus the sum of p log2 p over the tokens that have a chance
    some = chances[chances > 0]
    return float(-(some * np.log2(some)).sum())
    # endregion


def draw(chances: Row, uniform: float) -> int:
    """Return the token at which the cumulative distribution passes `uniform`, a number in [0, 1).

    The same number gives the same token: that is all a seed does.
    """
    # region exercise: the first token whose cumulative sum is greater than `uniform`
    cumulative = np.cumsum(chances)
    return int(np.searchsorted(cumulative, uniform * cumulative[-1], side="right"))
    # endregion
