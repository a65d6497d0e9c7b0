"""The one definition of a percentile in this project.

The p-th percentile of n samples in ascending order is the value at position (n - 1) * p / 100, counted from 0, by
linear interpolation between the two samples next to it: type 7 of Hyndman and Fan (1996), numpy's and R's default.
Other definitions give other numbers: the P99 of 60 samples is the largest one by nearest rank, and lies between the two
largest by interpolation.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def percentile(values: npt.ArrayLike, p: float) -> float:
    """Return the `p`-th percentile, 0 <= p <= 100, of samples in any order; ValueError if there are none."""
    samples = np.asarray(values, dtype=np.float64)
    if not samples.size:
        raise ValueError("no samples: their percentile is undefined")
    return float(np.percentile(samples, p))
