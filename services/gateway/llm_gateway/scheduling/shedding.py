"""Graded shedding: under saturation the lowest classes are refused with a probability that rises smoothly.

Purpose     Refuse load gradually, least urgent first, as the queue fills, instead of all load at its bound.
Inputs      Saturation s, from 0: the caller passes the fill of the queue, where 1 is full.
Formula     x = (s - start) / (full - start). The m priority levels that can be shed, r = 0 the lowest, divide the range
            from 0 to 1 into overlapping parts:

                p_r(s) = smoothstep(clamp((x - r / (m + 1)) * (m + 1) / 2, 0, 1)),   smoothstep(y) = y^2 (3 - 2 y)

            So p is 0 up to `start`, rises without step or kink, and by at most 0.75 (m + 1) / (full - start) per unit
            of saturation. The most urgent level is never shed.
Trade-off   A request that is shed early might have been served after all. `start` sets how early shedding begins.
"""

from __future__ import annotations

import random as random_module
from collections.abc import Callable, Sequence
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from llm_gateway.classes import PriorityClass


class SheddingSettings(BaseModel):
    """The range of shedding. By default a full queue (saturation 1) sheds 84 % of batch, 16 % of standard requests."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    start: float = Field(0.8, ge=0, description="saturation above which the lowest class is shed")
    full: float = Field(1.2, gt=0, description="saturation at which all but the most urgent class are shed")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.start >= self.full:
            raise ValueError(f"start {self.start:g} must be below full {self.full:g}")
        return self


class Shedder:
    """Decides which requests are shed. `random` returns numbers in [0, 1)."""

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
        """Return whether a request of the class is admitted. No random number is drawn while nothing is shed."""
        probability = self.probability(cls, saturation)
        return probability == 0.0 or self._random() >= probability

    def probability(self, cls: PriorityClass, saturation: float) -> float:
        """Return the probability that a request of the class is shed."""
        rank = self._rank.get(cls.priority)
        if rank is None or saturation <= self._start:
            return 0.0
        parts = len(self._rank) + 1
        x = (saturation - self._start) / self._span
        return _smoothstep((x * parts - rank) / 2)


def _smoothstep(y: float) -> float:
    y = max(0.0, min(y, 1.0))
    return y * y * (3 - 2 * y)
