"""Mixed precision: find the layers that suffer most from few bits, and let them keep 16.

A group of layers that read the same inputs is rounded alone, and the error of its block's output is the group's
sensitivity. Groups are kept in the order of error saved per weight, as long as the budget lasts. Layers of a group stay
together because engines compute them as one (q, k and v; gate and up).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """The price of rounding a group of layers."""

    layers: tuple[str, ...]
    error: float
    """Relative squared error of the block's output."""
    weights: int
    """Number of weights."""


def choose_kept(groups: Sequence[Sensitivity], share: float) -> list[str]:
    """Return the layers to keep, with at most `share` of all weights."""
    budget = share * sum(group.weights for group in groups)
    kept: list[str] = []
    for group in sorted(groups, key=lambda group: group.error / group.weights, reverse=True):
        if group.weights <= budget:
            kept += group.layers
            budget -= group.weights
    return kept
