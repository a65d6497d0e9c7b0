"""How fast requests are served at present, for Retry-After."""

from __future__ import annotations

import math
from collections.abc import Callable

HORIZON = 30.0
"""Seconds after which a completion counts 1/e."""


class ServiceRate:
    """Completions per second, exponentially decayed; unbiased from the first one on."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._start = self._last = clock()
        self._weight = 0.0

    def completed(self) -> None:
        now = self._clock()
        self._weight = self._decayed(now) + 1.0
        self._last = now

    def per_second(self) -> float:
        now = self._clock()
        seen = -math.expm1(-(now - self._start) / HORIZON)
        return self._decayed(now) / (HORIZON * seen) if seen > 0 else 0.0

    def _decayed(self, now: float) -> float:
        return self._weight * math.exp(-(now - self._last) / HORIZON)
