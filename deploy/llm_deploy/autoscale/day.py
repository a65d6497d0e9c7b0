"""A synthetic day of traffic: a quiet night, a busy afternoon, noise, and two bursts without warning.

Lengths are those of `llm-gateway simulate --synthetic poisson`: Azure's conversation trace.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from llm_gateway.simulate.load import TraceRequest
from llm_gateway.simulate.synthetic import OUTPUT_TOKENS, PROMPT_TOKENS, lengths

DAY = 86_400.0
SLOT = 300.0
"""Seconds for which the noise keeps one value."""
NIGHT = 0.2
"""Rate at 2:00 as a share of the rate at 14:00."""
NOISE = 0.08
"""Standard deviation of the rate's logarithm."""
BURSTS = ((9.5, 12.0, 1.7), (20.0, 20.0, 1.5))
"""Hour of its start, minutes, and factor of each burst."""


def rates(peak: float, seed: int) -> NDArray[np.float64]:
    """Return the requests per second in each second of the day."""
    seconds = np.arange(DAY)
    wave = (1 + np.cos((seconds / 3600 - 14) / 24 * 2 * np.pi)) / 2
    noise = np.random.default_rng(seed).normal(0.0, NOISE, int(DAY / SLOT))
    found: NDArray[np.float64] = peak * (NIGHT + (1 - NIGHT) * wave) * np.repeat(np.exp(noise), int(SLOT))
    for hour, minutes, factor in BURSTS:
        begin = hour * 3600
        found[(seconds >= begin) & (seconds < begin + minutes * 60)] *= factor
    return found


def arrivals(peak: float, seed: int, seconds: float = DAY) -> list[TraceRequest]:
    """Return the requests of the day's first `seconds`, in order, equal for equal seeds."""
    source = np.random.default_rng(seed + 1)
    rate = rates(peak, seed)[: int(seconds)]
    counts = source.poisson(rate)
    times = np.repeat(np.arange(len(rate), dtype=float), counts) + source.random(counts.sum())
    times.sort()
    prompts, outputs = (lengths(table, source.random(len(times))) for table in (PROMPT_TOKENS, OUTPUT_TOKENS))
    rows = zip(times.tolist(), prompts.tolist(), outputs.tolist(), strict=True)
    return [TraceRequest(at, "standard", "", prompt, output) for at, prompt, output in rows]
