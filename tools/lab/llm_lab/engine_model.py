"""The gateway's engine model, fitted to the step times in an engine's trace.

    step seconds = base + slope * decoding sequences + prefill * prompt tokens

A step's time runs to the beginning of the next step, so the work between two steps counts as well. A pause in which the
engine was idle does not.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

IDLE_SECONDS = 0.005
"""A longer pause between two steps means that there was nothing to do."""


@dataclass(frozen=True)
class EngineModel:
    """The time of an engine step in seconds: a base, a slope per decoding sequence, and a cost per prompt token."""

    itl_base: float
    itl_slope: float
    prefill: float

    def flags(self) -> tuple[str, ...]:
        """Return the flags of `llm-gateway simulate`."""
        values = {"--itl-base": self.itl_base, "--itl-slope": self.itl_slope, "--prefill": self.prefill}
        return tuple(part for name, value in values.items() for part in (name, f"{value:.9f}"))


def fit(traces: Sequence[Path]) -> EngineModel:
    """Fit the model by least squares over the steps of all traces, which come from engines on one machine."""
    steps = [step for trace in traces for step in _steps(trace)]
    design = np.array([(1.0, decodes, prompt_tokens) for _, decodes, prompt_tokens in steps])
    (base, slope, prefill), *_ = np.linalg.lstsq(design, np.array([seconds for seconds, _, _ in steps]), rcond=None)
    return EngineModel(*(max(float(value), 1e-9) for value in (base, slope, prefill)))


def _steps(trace: Path) -> Iterator[tuple[float, int, int]]:
    """Yield (seconds, decoding sequences, prompt tokens) of each step that another one follows directly."""
    events = [json.loads(line) for line in trace.open(encoding="utf-8")]
    ends = {event["index"]: event["time"] for event in events if event["event"] == "result"}
    for event, following in pairwise(event for event in events if event["event"] == "step"):
        if following["time"] - ends[event["index"]] < IDLE_SECONDS:
            sizes = [sequence["num_tokens"] for sequence in event["sequences"]]
            decodes = sum(size == 1 for size in sizes)
            yield following["time"] - event["time"], decodes, sum(sizes) - decodes
