"""Graded shedding: under saturation the lowest classes are refused with a probability, never all at once.

Purpose     a queue that fills up is refused piece by piece, least urgent first, instead of everybody at its bound.
Inputs      saturation s: the fill of the queue, or the predicted wait over the class's target; 1 is "as much as can be
            promised". The caller chooses.
Formula     x = (s - start) / (full - start). The m priority levels that may be shed, r = 0 the lowest, share the way
            from 0 to 1 in overlapping parts:

                p_r(s) = smoothstep(clamp((x - r / (m + 1)) * (m + 1) / 2, 0, 1)),   smoothstep(y) = y^2 (3 - 2 y)

            so p is 0 up to `start`, rises without step or kink, and never by more than 0.75 (m + 1) / (full - start)
            per unit of saturation. The most urgent level is never shed, here.
Trade-off   what is shed early might have been served after all; `start` says how early.
"""

from __future__ import annotations

import random as random_module
from collections.abc import Callable, Sequence
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from llm_gateway.classes import PriorityClass


class SheddingSettings(BaseModel):
    """With the defaults, a full queue (saturation 1) sheds 84 % of batch and 16 % of standard requests."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    start: float = Field(0.8, ge=0, description="saturation from which on the lowest class is shed")
    full: float = Field(1.2, gt=0, description="saturation at which all but the most urgent class are shed")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.start >= self.full:
            raise ValueError(f"start {self.start:g} must be below full {self.full:g}")
        return self


class Shedder:
    """`random` gives numbers in [0, 1)."""

    def __init__(
        self,
        settings: SheddingSettings,
        classes: Sequence[PriorityClass],
        random: Callable[[], float] = random_module.random,
    ) -> None:
        self._start = settings.start
        self._span = settings.full - settings.start
        self._random = random
        lowest_first = sorted({cls.priority for cls in classes}, reverse=True)
        self._rank = {priority: rank for rank, priority in enumerate(lowest_first[:-1])}
        """Rank of each priority that can be shed; the lowest class is 0."""

    def admit(self, cls: PriorityClass, saturation: float) -> bool:
        """Whether a request of that class is let in; without chance while there is nothing to shed."""
        probability = self.probability(cls, saturation)
        return probability == 0.0 or self._random() >= probability

    def probability(self, cls: PriorityClass, saturation: float) -> float:
        rank = self._rank.get(cls.priority)
        if rank is None or saturation <= self._start:
            return 0.0
        parts = len(self._rank) + 1
        x = (saturation - self._start) / self._span
        return _smoothstep((x * parts - rank) / 2)


def _smoothstep(y: float) -> float:
    y = max(0.0, min(y, 1.0))
    return y * y * (3 - 2 * y)
