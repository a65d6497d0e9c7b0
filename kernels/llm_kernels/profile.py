"""`llm-kernels profile OP`: Nsight Compute's counters for one call of an op or a rung, as a short summary."""

from __future__ import annotations

import csv
import io
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from llm_kernels.errors import KernelError
from llm_kernels.run_once import MARKER

SECTIONS = ("SpeedOfLight", "MemoryWorkloadAnalysis", "ComputeWorkloadAnalysis", "Occupancy", "LaunchStats",
            "SchedulerStats", "WarpStateStats")  # fmt: skip
"""Counters for a roofline: time, bandwidth, arithmetic, what limits occupancy, why warps wait."""

_STALLED = "smsp__average_warps_issue_stalled_{}_per_issue_active.ratio"
EXTRA = {
    "sm__inst_executed_pipe_tensor.avg.pct_of_peak_sustained_active": "tensor instructions, of peak",
    "sm__pipe_tensor_cycles_active.avg.pct_of_peak_sustained_active": "tensor cores busy",
    "dram__bytes_read.sum": "read from device memory",
    "dram__bytes_write.sum": "written to device memory",
    _STALLED.format("long_scoreboard"): "warps waiting for device memory, an issue",
    _STALLED.format("short_scoreboard"): "warps waiting for shared memory, an issue",
    _STALLED.format("barrier"): "warps waiting at barriers, an issue",
    _STALLED.format("math_pipe_throttle"): "warps waiting for arithmetic units, an issue",
    _STALLED.format("mio_throttle"): "warps waiting for the memory queue, an issue",
}
"""Metrics in addition to the sections; names differ between chips, and ones that ncu does not know are left out."""

SHOWN = (
    "Duration", "DRAM Throughput", "Memory Throughput", "Compute (SM) Throughput", "L1/TEX Hit Rate", "L2 Hit Rate",
    "Mem Busy", "Max Bandwidth", "SM Busy", "Issue Slots Busy", "Executed Ipc Active", "Achieved Occupancy",
    "Theoretical Occupancy", "Registers Per Thread", "Dynamic Shared Memory Per Block", "Block Size", "Grid Size",
    "Waves Per SM", "No Eligible", "Warp Cycles Per Issued Instruction",
)  # fmt: skip


@dataclass(frozen=True)
class Profile:
    kernel: str
    values: dict[str, str]
    """Metric -> value with its unit."""

    def shown(self) -> dict[str, str]:
        names = {**{name: name for name in SHOWN}, **EXTRA}
        return {name: self.values[metric] for metric, name in names.items() if metric in self.values}

    def summary(self) -> str:
        shown = self.shown()
        width = max((len(name) for name in shown), default=0)
        return "\n".join([self.kernel, *(f"  {name.ljust(width)}  {value}" for name, value in shown.items())])


def profile(*targets: str, limit_seconds: int = 60) -> dict[str, list[Profile]]:
    """Each target's kernels (`llm_kernels.run_once` says what a target is). Raises KernelError if ncu is missing or
    fails."""
    ncu = shutil.which("ncu") or next(
        (str(p) for p in sorted(Path("/opt/nvidia/nsight-compute").glob("*/ncu"), reverse=True)), None
    )
    if ncu is None:
        raise KernelError("ncu was not found: install Nsight Compute and put it on the PATH")
    output, names = "", ", ".join(targets)
    for metrics in (("--metrics", ",".join(EXTRA)), ()):  # without the extra ones where this ncu does not know them
        sections = [word for name in SECTIONS for word in ("--section", name)]
        command = [
            ncu, "--clock-control", "none", "--profile-from-start", "off", "--csv", "--page", "details", *sections,
            *metrics, sys.executable, "-m", "llm_kernels", "run-once", *targets,
        ]  # fmt: skip
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=limit_seconds)
        except subprocess.TimeoutExpired as error:
            raise KernelError(f"ncu took longer than {limit_seconds} s for {names}") from error
        if found := by_target(targets, parse(done.stdout)):
            return found
        output = done.stdout + done.stderr
    raise KernelError(f"ncu printed no kernel for {names}:\n{output[-2000:]}")


def by_target(targets: Sequence[str], profiles: Iterable[Profile]) -> dict[str, list[Profile]]:
    """A marker stands before each target's kernels. Targets that did not run are left out."""
    groups: list[list[Profile]] = []
    for one in profiles:
        if MARKER in one.kernel:
            groups.append([])
        elif groups:
            groups[-1].append(one)
    return dict(zip(targets, groups, strict=False))


def parse(output: str) -> list[Profile]:
    """ncu's details page as CSV, a line a kernel and metric; other lines stand before it."""
    lines = [line for line in output.splitlines() if line.startswith('"')]
    kernels: dict[tuple[str, str], dict[str, str]] = {}
    for row in csv.DictReader(io.StringIO("\n".join(lines))):
        if row.get("Metric Name"):
            values = kernels.setdefault((row["ID"], row["Kernel Name"]), {})
            values.setdefault(row["Metric Name"], f"{row['Metric Value']} {row['Metric Unit']}".strip())
    return [Profile(name, values) for (_, name), values in kernels.items()]
