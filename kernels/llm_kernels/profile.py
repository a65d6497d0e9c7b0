"""`llm-kernels profile OP`: Nsight Compute's counters for one call of an op or a rung, as a short summary."""

from __future__ import annotations

import csv
import io
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llm_kernels.errors import KernelError

_STALLED = "smsp__average_warps_issue_stalled_{}_per_issue_active.ratio"

METRICS = {
    "gpu__time_duration.sum": "time",
    "dram__bytes_read.sum": "read from device memory",
    "dram__bytes_write.sum": "written to device memory",
    "dram__throughput.avg.pct_of_peak_sustained_elapsed": "device memory, of peak",
    "lts__t_sector_hit_rate.pct": "L2 hits",
    "l1tex__t_sector_hit_rate.pct": "L1 hits",
    "sm__throughput.avg.pct_of_peak_sustained_elapsed": "multiprocessors, of peak",
    "sm__inst_executed_pipe_tensor.avg.pct_of_peak_sustained_active": "tensor cores, instructions of peak",
    "sm__pipe_tensor_op_hmma_cycles_active.avg.pct_of_peak_sustained_active": "tensor cores, cycles busy",
    "sm__warps_active.avg.pct_of_peak_sustained_active": "occupancy reached",
    "launch__registers_per_thread": "registers a thread",
    "launch__shared_mem_per_block_dynamic": "shared memory a block",
    "smsp__issue_active.avg.pct_of_peak_sustained_active": "issue slots used",
    _STALLED.format("long_scoreboard"): "stalled on device memory, warps an issue",
    _STALLED.format("short_scoreboard"): "stalled on shared memory, warps an issue",
    _STALLED.format("barrier"): "stalled at barriers, warps an issue",
    _STALLED.format("math_pipe_throttle"): "stalled on arithmetic, warps an issue",
    "l1tex__data_bank_conflicts_pipe_lsu.sum": "bank conflicts",
}


@dataclass(frozen=True)
class Profile:
    kernel: str
    values: dict[str, str]
    """Metric -> value with its unit, as ncu prints it."""

    def summary(self) -> str:
        width = max(len(name) for name in METRICS.values())
        lines = [
            f"  {name.ljust(width)}  {self.values[metric]}" for metric, name in METRICS.items() if metric in self.values
        ]
        return "\n".join([self.kernel, *lines])


def profile(target: str, limit_seconds: int = 60) -> list[Profile]:
    """`target`: what `llm-kernels run-once` takes. Raises KernelError if ncu is missing or fails."""
    ncu = shutil.which("ncu") or next(
        (str(p) for p in sorted(Path("/opt/nvidia/nsight-compute").glob("*/ncu"), reverse=True)), None
    )
    if ncu is None:
        raise KernelError("ncu was not found: install Nsight Compute and put it on the PATH")
    command = [
        ncu, "--clock-control", "none", "--csv", "--page", "raw", "--profile-from-start", "off",
        "--metrics", ",".join(METRICS), sys.executable, "-m", "llm_kernels", "run-once", target,
    ]  # fmt: skip
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=limit_seconds)
    except subprocess.TimeoutExpired as error:
        raise KernelError(f"ncu took longer than {limit_seconds} s for {target}") from error
    profiles = parse(done.stdout)
    if not profiles:
        raise KernelError(f"ncu printed no kernel for {target}:\n{(done.stdout + done.stderr)[-2000:]}")
    return profiles


def parse(output: str) -> list[Profile]:
    """ncu's raw page as CSV: a line of names, a line of units, a line a kernel; other lines stand before."""
    lines = [line for line in output.splitlines() if line.startswith('"')]
    if len(lines) < 3:
        return []
    rows: list[dict[str, Any]] = list(csv.DictReader(io.StringIO("\n".join(lines))))
    units = rows[0]
    return [
        Profile(
            row["Kernel Name"],
            {metric: f"{row[metric]} {units[metric]}".strip() for metric in METRICS if row.get(metric)},
        )
        for row in rows[1:]
    ]
