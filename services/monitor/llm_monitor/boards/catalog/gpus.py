"""The GPUs of this machine, through NVML."""

from __future__ import annotations

from llm_monitor.boards.panel import Board, Panel, Query, Section

_NVML = "NVML, read by the monitor on the machine that it runs on."

GPUS = Board(
    key="gpus",
    title="GPUs",
    sections=(
        Section(
            title="GPUs",
            panels=(
                Panel(
                    key="utilisation",
                    title="Utilisation",
                    unit="share",
                    queries=(Query(expression="max by (instance, gpu) (gpu_utilization_ratio)"),),
                    shows="Part of the time in which a kernel ran.",
                    source=_NVML,
                    cannot="A kernel that uses one of many multiprocessors counts as fully as one that uses all.",
                ),
                Panel(
                    key="memory",
                    title="Memory used",
                    unit="share",
                    limit=0.98,
                    queries=(
                        Query(
                            expression="max by (instance, gpu) (gpu_memory_used_bytes) "
                            "/ max by (instance, gpu) (gpu_memory_total_bytes)"
                        ),
                    ),
                    shows="Part of the GPU's memory that is taken.",
                    source=_NVML,
                    cannot="vLLM takes its whole share at the start; how full the KV cache is stands under Engines.",
                ),
                Panel(
                    key="power",
                    title="Power",
                    unit="watts",
                    queries=(Query(expression="max by (instance, gpu) (gpu_power_watts)"),),
                    shows="Power drawn. The best single sign of work done.",
                    source=_NVML,
                ),
                Panel(
                    key="temperature",
                    title="Temperature",
                    unit="celsius",
                    queries=(Query(expression="max by (instance, gpu) (gpu_temperature_celsius)"),),
                    shows="Temperature of the GPU's core.",
                    source=_NVML,
                    cannot="The memory's own temperature is not exported.",
                ),
                Panel(
                    key="clock",
                    title="SM clock",
                    unit="hertz",
                    queries=(Query(expression="max by (instance, gpu) (gpu_sm_clock_hertz)"),),
                    shows="Clock of the multiprocessors. It falls when heat or the power limit throttles them.",
                    source=_NVML,
                ),
                Panel(
                    key="xid",
                    title="XID errors",
                    unit="count",
                    needs="a GPU that reported an XID error",
                    queries=(Query(expression="sum by (instance, gpu, xid) (gpu_xid_errors_total)"),),
                    shows="Errors that the driver reported, by XID.",
                    source=_NVML,
                ),
            ),
        ),
    ),
)
