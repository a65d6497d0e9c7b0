"""The scenario behind `replay`: a trace's times and lengths, and nothing else."""

from __future__ import annotations

import math

from llm_bench.errors import ScenarioError
from llm_bench.workload.lengths import RecordedLengths
from llm_bench.workload.recorded import TraceArrivals
from llm_bench.workload.scenario import RequestClass, Scenario

CLASS = "standard"
"""Where the trace names none; where it names some, rows without one are spread over those."""
OUTPUT_SHARE = 0.25
"""Share of the model's context length for the longest output; the longest prompt has the rest."""
TAIL = 0.001
"""Seconds by which the window outlasts the last arrival, to hold it."""
UNLIMITED = 1_000_000


def trace_scenario(
    arrivals: TraceArrivals, duration: float | None, length_scale: float, max_model_len: int | None
) -> Scenario:
    """`duration` in seconds of the run, the whole trace if None; lengths are cut to what the model has room for."""
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
