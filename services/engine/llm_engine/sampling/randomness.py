"""Random numbers as a hash of (seed, position): the same in any batch, after any preemption, on any device."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def uniform_numbers(seeds: list[int], positions: list[int]) -> npt.NDArray[np.float64]:
    """Return a number in [0, 1), with 53 bits, for each (seed, position). Source: SplitMix64 (Steele et al., 2014)."""
    mask = (1 << 64) - 1
    state = np.array([seed & mask for seed in seeds], dtype=np.uint64)
    with np.errstate(over="ignore"):
        mixed = _splitmix64(_splitmix64(state) + np.array(positions, dtype=np.uint64))
    return (mixed >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _splitmix64(state: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    z = state + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
