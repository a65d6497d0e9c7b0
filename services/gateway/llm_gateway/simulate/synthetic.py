"""Requests from a Poisson process, with the lengths of Azure's conversation trace of 2023.

Lengths are drawn from the published percentiles, with logarithmic interpolation between them. The ends of the table
were not published; they are our assumptions.

    percentile    0     50     90     99    100
    prompt       16   1020   2735   4142   8192
    output        1    129    424    601   1000
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from llm_gateway.simulate.load import Mix, TraceRequest

PERCENTILES = (0.0, 0.5, 0.9, 0.99, 1.0)
PROMPT_TOKENS = (16, 1020, 2735, 4142, 8192)
OUTPUT_TOKENS = (1, 129, 424, 601, 1000)


def poisson(rate: float, duration: float, mix: Mix, seed: int) -> list[TraceRequest]:
    """Return `rate` requests per second on average for `duration` seconds, equal for equal seeds."""
    source = np.random.default_rng(seed)
    count = source.poisson(rate * duration)
    times = np.sort(source.uniform(0.0, duration, count))
    prompts, outputs = (lengths(table, source.random(count)) for table in (PROMPT_TOKENS, OUTPUT_TOKENS))
    rows = zip(times.tolist(), mix.draw(seed), prompts.tolist(), outputs.tolist(), strict=False)
    return [TraceRequest(at, class_name, tenant, prompt, output) for at, (class_name, tenant), prompt, output in rows]


def lengths(table: Sequence[int], quantiles: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the number of tokens at each quantile, 0 to 1."""
    return np.rint(np.exp(np.interp(quantiles, PERCENTILES, np.log(table)))).astype(np.int64)


def mean_lengths() -> tuple[float, float]:
    """Return the expected prompt and output tokens of a request."""
    grid = (np.arange(100_000) + 0.5) / 100_000
    return float(lengths(PROMPT_TOKENS, grid).mean()), float(lengths(OUTPUT_TOKENS, grid).mean())
