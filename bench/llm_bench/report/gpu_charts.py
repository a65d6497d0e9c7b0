"""The GPUs of the client's machine, over the same time axis as the requests and the server's metrics above them."""

from __future__ import annotations

from llm_bench.report.strip import Panel, Unit, make_panel
from llm_bench.results.result import Result

PANELS: tuple[tuple[str, str, float, Unit], ...] = (
    ("utilisation", "in use", 1.0, "share"),
    ("memory_used", "memory in use, GiB", 2**30, "number"),
    ("power", "power, W", 1.0, "number"),
    ("temperature", "temperature, °C", 1.0, "number"),
    ("sm_clock", "SM clock, GHz", 1e9, "number"),
)
"""Measure, its words in the caption, one unit of the axis in units of the measure, kind of axis."""


def panels(result: Result, span: float) -> list[Panel]:
    """Return the panels of the GPUs' readings; none without a GPU."""
    if result.gpu is None:
        return []
    found = []
    for measure, what, unit, kind in PANELS:
        lines = {
            f"GPU {index}": [None if value is None else value / unit for value in gpu.series[measure]]
            for index, gpu in enumerate(result.gpu.gpus)
            if measure in gpu.series
        }
        if lines:
            label = f"GPU of the client's machine: {what}"
            found.append(make_panel(label, result.run.name, result.gpu.times, lines=lines, span=span, unit=kind))
    return found


def names(result: Result) -> str | None:
    """Return the GPUs' names, such as `2 × NVIDIA H100 80GB HBM3`."""
    if result.gpu is None:
        return None
    found = [gpu.name for gpu in result.gpu.gpus]
    return ", ".join(f"{found.count(name)} × {name}" for name in dict.fromkeys(found))
