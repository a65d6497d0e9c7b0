"""Arrivals whose rate changes over the window: an inhomogeneous Poisson process, given its number of arrivals.

Given their number, the arrivals are independent, with a density proportional to the rate. They are drawn by inverting
the cumulative rate (Lewis & Shedler 1979).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

GRID = 4096
"""Points at which a smooth rate is evaluated."""

Seconds = npt.NDArray[np.float64]


def draw_by_intensity(
    level: Callable[[Seconds], Seconds], breaks: Seconds, duration: float, count: int, *, rng: np.random.Generator
) -> Seconds:
    """Draw `count` sorted times in [0, duration) with a density proportional to `level`, which jumps at `breaks`."""
    inside = breaks[(breaks > 0) & (breaks < duration)]
    grid = np.unique(np.concatenate([np.linspace(0.0, duration, GRID), inside, np.nextafter(inside, 0.0)]))
    heights = level(grid)
    areas = (heights[1:] + heights[:-1]) / 2 * np.diff(grid)
    cumulated = np.concatenate([[0.0], np.cumsum(areas)])
    times: Seconds = np.interp(np.sort(rng.uniform(0.0, cumulated[-1], size=count)), cumulated, grid)
    return within(times, duration)


def within(times: Seconds, duration: float) -> Seconds:
    """Move times that rounding put on the window's end, which is outside it, just before it."""
    kept: Seconds = np.minimum(times, np.nextafter(duration, 0.0))
    return kept
