"""From a profile to the one thing to work on.

A trace of the PyTorch profiler is a list of events, each with a begin (`ts`) and a length (`dur`) in microseconds. The
sum of lengths answers almost no question: events run at the same time, lie inside others, and leave gaps between them.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

GROUPS = {
    "attention": ("paged_attention", "add_splits", "flash", "scaled_dot_product"),
    "linear": ("nvjet", "gemm", "gemv", "splitk", "cutlass", "cublas", "aten::mm", "aten::addmm", "aten::linear"),
    "norms, activation, rotary": ("rms_norm", "gated", "rope", "silu"),
    "sampling": ("sample_", "argmax", "distribution", "multinomial"),
}
"""Kinds of kernels, by parts of their lower-case names."""
GAPS = "gaps"


@dataclass(frozen=True, slots=True, order=True)
class Event:
    """A kernel on the device or a call on the host."""

    begin: float
    """Microseconds."""
    end: float
    name: str = ""
    category: str = "kernel"
    """`kernel` and `gpu_memcpy` run on the device; `cpu_op` is an operator's call on the host."""
    thread: int = 0
    blocks: int = 0
    """Thread blocks of a kernel: its grid's sizes multiplied; 0 for all else."""


def group_of(name: str) -> str:
    """Return the kind of a kernel; `other` for one that no group knows."""
    return next((group for group, parts in GROUPS.items() if any(part in name.lower() for part in parts)), "other")


def read_trace(trace: Mapping[str, Any]) -> list[Event]:
    """Return the complete events (`"ph": "X"`) of a Chrome trace in order of time.

    Its other entries are arrows, names and instants, and have no length. `args.grid` is [x, y, z] on kernels only.
    """
    # region exercise: one Event for each entry of `traceEvents` that is complete
    events = []
    for entry in trace["traceEvents"]:
        if entry["ph"] == "X":
            grid = entry.get("args", {}).get("grid")
            blocks = math.prod(grid) if grid else 0
            end = entry["ts"] + entry["dur"]
            events.append(Event(entry["ts"], end, entry["name"], entry.get("cat", ""), entry["tid"], blocks))
    return sorted(events)
    # endregion


def covered(events: Iterable[Event]) -> float:
    """Return the microseconds during which at least one of the events runs."""
    # region exercise: go through them in order of begin, and add the part of each that no earlier one has covered
    total, reached = 0.0, -math.inf
    for event in sorted(events):
        total += max(0.0, event.end - max(event.begin, reached))
        reached = max(reached, event.end)
    return total
    # endregion


def shares(events: Iterable[Event], microseconds: float) -> dict[str, float]:
    """Return the share of a period in which each group runs, and of its gaps, in which nothing does.

    Groups that run at the same time both count, so the sum can exceed 1. A profiler stretches gaps, not kernels:
    give the period as it was measured without one. Gaps are at least 0.
    """
    # region exercise: `covered` of each group's events, and of all of them for the gaps
    events = list(events)
    groups: dict[str, list[Event]] = {}
    for event in events:
        groups.setdefault(group_of(event.name), []).append(event)
    found = {group: covered(members) / microseconds for group, members in groups.items()}
    return {**found, GAPS: max(0.0, 1 - covered(events) / microseconds)}
    # endregion


def self_times(events: Iterable[Event]) -> dict[str, float]:
    """Return the microseconds of each name without those of the calls inside it.

    Calls of one thread nest: `aten::linear` contains `aten::addmm`. Calls of two threads only overlap.
    """
    # region exercise: keep a stack for each thread; an event's length is taken from the call that it lies in
    found: dict[str, float] = {}
    stacks: dict[int, list[Event]] = {}
    for event in sorted(events, key=lambda each: (each.begin, -each.end)):
        stack = stacks.setdefault(event.thread, [])
        while stack and stack[-1].end <= event.begin:
            stack.pop()
        length = event.end - event.begin
        found[event.name] = found.get(event.name, 0.0) + length
        if stack:
            found[stack[-1].name] -= length
        stack.append(event)
    return found
    # endregion


def filled(kernels: Iterable[Event], num_sms: int, microseconds: float) -> float:
    """Return the share of the multiprocessors that have work, on average over a period; the kernels run one by one.

    A kernel of b blocks gives work to at most b multiprocessors. That is an upper bound: it can still wait for memory.
    """
    # region exercise: weigh each kernel's length by the share of multiprocessors that its blocks reach
    reached = sum((kernel.end - kernel.begin) * min(1.0, kernel.blocks / num_sms) for kernel in kernels)
    return reached / microseconds
    # endregion


def read_smi(text: str) -> list[dict[str, float | None]]:
    """Read the output of `nvidia-smi --query-gpu=timestamp,… --format=csv`.

    The key `power.draw` stands for a column `power.draw [W]`, its value for `123.65 W`; None for `[N/A]` and
    `[Not Supported]`. The timestamp is left out.
    """
    # region exercise: `csv.DictReader(…, skipinitialspace=True)`; the key is a header's first word
    rows = []
    for row in csv.DictReader(text.strip().splitlines(), skipinitialspace=True):
        values = {key.split()[0]: value for key, value in row.items() if key != "timestamp"}
        rows.append({key: None if value.startswith("[") else float(value.split()[0]) for key, value in values.items()})
    return rows
    # endregion


def headroom(milliseconds: Mapping[str, float], floor: Mapping[str, float]) -> list[tuple[str, float]]:
    """Return what each part of a step can lose at most, the largest first: its time less its floor.

    A part without a floor (gaps, small kernels) could vanish. No part has less than nothing to lose.
    """
    # region exercise: a list of (part, milliseconds)
    gains = [(part, max(0.0, spent - floor.get(part, 0.0))) for part, spent in milliseconds.items()]
    return sorted(gains, key=lambda gain: -gain[1])
    # endregion
