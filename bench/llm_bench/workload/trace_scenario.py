"""The scenario behind the `replay` command: a trace's times and lengths, and nothing else."""

from __future__ import annotations

import math

from llm_bench.errors import ScenarioError
from llm_bench.workload.lengths import RecordedLengths
from llm_bench.workload.recorded import TraceArrivals
from llm_bench.workload.scenario import RequestClass, Scenario

CLASS = "standard"
"""The class if the trace names none. If it names some, rows without a class are spread over those."""
OUTPUT_SHARE = 0.25
"""Share of the model's context length for the longest output; the longest prompt gets the rest."""
TAIL = 0.001
"""Seconds by which the window extends beyond the last arrival, to include it."""
UNLIMITED = 1_000_000


def trace_scenario(
    arrivals: TraceArrivals, duration: float | None, length_scale: float, max_model_len: int | None
) -> Scenario:
    """Return the scenario of a trace, with lengths clipped to the model's context length.

    `duration`: seconds of the run; None replays the whole trace.
    """
    trace = arrivals.read()
    longest = max_model_len or UNLIMITED
    longest_output = max(1, math.floor(longest * OUTPUT_SHARE))
    if longest < 2:
        raise ScenarioError(f"the model takes {longest} tokens: too few for a prompt and an answer")
    kind = RequestClass(
        weight=1,
        prompt_tokens=RecordedLengths(kind="recorded", scale=length_scale, high=longest - longest_output),
        output_tokens=RecordedLengths(kind="recorded", scale=length_scale, high=longest_output),
    )
    return Scenario(
        name=arrivals.file.stem,
        duration=duration or trace.seconds / arrivals.speed + TAIL,
        arrivals=arrivals,
        classes=dict.fromkeys(sorted({row.class_name for row in trace.rows if row.class_name}) or [CLASS], kind),
    )
