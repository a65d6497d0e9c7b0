"""`llm-kernels tune OP`: time the candidates of a Triton kernel on its workloads and remember the winners."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from typing import Any

from llm_kernels import tuning
from llm_kernels.bench.timing import Timing, measure
from llm_kernels.workloads import Workload

MODULES = {
    "gemm": "gemm",
    "scaled_gemm": "gemm",
    "flash_attention": "flash_attention",
    "paged_attention": "paged_attention",
    "w4a16_gemm": "w4a16",
}
"""Ops whose kernel has candidates, and the module under `triton_kernels` that lists them."""


def tune(workload: Workload, report: Callable[[str], None], budget_seconds: float = 0.05) -> dict[str, int] | None:
    """Return and remember the workload's fastest candidate; None if the op has none or refuses the arguments."""
    if workload.op not in MODULES:
        return None
    module = importlib.import_module(f"llm_kernels.triton_kernels.{MODULES[workload.op]}")
    args: Any = workload.inputs(0, "cuda")
    if workload.definition()["triton"].refuses(*args) is not None:
        return None
    launcher = getattr(module, workload.op)
    times: list[tuple[float, dict[str, int]]] = []
    for candidate in module.candidates(workload.op, *args):
        try:
            timing = _time(functools.partial(launcher, *args, chosen=candidate), budget_seconds)
        except Exception as error:  # noqa: BLE001 - a candidate may not fit the device
            report(f"{workload.name} {candidate}: {type(error).__name__}")
            continue
        report(f"{workload.name} {candidate}: {timing.seconds * 1e6:.1f} us")
        times.append((timing.seconds, candidate))
    if not times:
        return None
    best = min(times, key=lambda pair: pair[0])[1]
    tuning.remember(workload.op, module.tuning_key(workload.op, *args), best)
    return best


def _time(call: Callable[[], Any], budget_seconds: float) -> Timing:
    return measure(lambda: None, lambda _: call(), budget_seconds=budget_seconds)
