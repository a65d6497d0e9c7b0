"""The bench: every implementation of a workload, checked, then timed against the libraries."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterable
from dataclasses import asdict, dataclass
from typing import Any

import torch

from llm_kernels import accuracy
from llm_kernels.bench.ceilings import Ceilings
from llm_kernels.bench.timing import measure
from llm_kernels.dispatch import Args, why_not
from llm_kernels.workloads import Workload
from llm_kernels.workloads.base import short

AT_ONCE_BYTES = 3e9
"""Attention whose exact reference needs more bytes is judged head by head."""


@dataclass(frozen=True)
class Row:
    op: str
    implementation: str
    shape: str
    dtype: str
    seconds: float | None
    spread: float | None
    runs: int
    fraction_of_limit: float | None
    """Least possible time over measured time."""
    bound: str
    ratio_to_library: float | None
    """The fastest library's time over this one: above 1 is faster than the library."""
    library: str | None
    error: float | None
    """None without a figure, and for a library."""
    wrong: str | None
    """Why there is no figure: an error, or a wrong result."""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def run(
    workload: Workload,
    ceilings: Ceilings,
    seed: int = 0,
    budget_seconds: float = 0.15,
    skip: Collection[tuple[str, str]] = (),
) -> list[Row]:
    """Check and time a workload. `skip`: (op, implementation) pairs that are known to be wrong and could hang."""
    args = workload.inputs(seed, "cuda")
    libraries = {
        name: _measure(function, workload, args, budget_seconds) for name, function in workload.libraries.items()
    }
    timed = {name: seconds for name, (seconds, _, _, _) in libraries.items() if seconds is not None}
    comparable = {name: seconds for name, seconds in timed.items() if "gathered" not in name} or timed
    fastest = min(comparable, key=comparable.__getitem__) if comparable else None
    judge = functools.partial(_judge, workload, args)
    rows = []
    for implementation in workload.definition().implementations[:-1]:
        known = "wrong on small shapes" if (workload.op, implementation.name) in skip else None
        if (reason := known or why_not(implementation, args)) is not None:
            rows.append(_row(workload, implementation.name, ceilings, (None, None, 0, reason)))
            continue
        verdict, wrong = judge(implementation)
        timing = (None, None, 0, wrong) if wrong else _measure(implementation.run, workload, args, budget_seconds)
        rows.append(_row(workload, implementation.name, ceilings, timing, fastest, timed, verdict))
    return rows + [_row(workload, name, ceilings, timing) for name, timing in libraries.items()]


def run_all(workloads: Iterable[Workload], ceilings: Ceilings, report: Callable[[Row], None]) -> list[Row]:
    rows = []
    for workload in workloads:
        for row in run(workload, ceilings):
            report(row)
            rows.append(row)
        torch.cuda.empty_cache()
    return rows


Timed = tuple[float | None, float | None, int, str | None]


def _judge(workload: Workload, args: Args, implementation: Any) -> tuple[float | None, str | None]:
    """Return (error, what is wrong)."""
    judge = accuracy.judge_by_head if _scores_bytes(workload, args) > AT_ONCE_BYTES else accuracy.judge
    try:
        verdict = judge(workload, implementation, args)
    except Exception as error:  # noqa: BLE001 - a kernel that fails is a row of the result
        return None, f"{type(error).__name__}: {error}"[:300]
    return verdict.error, verdict.wrong


def _scores_bytes(workload: Workload, args: Args) -> float:
    """Estimate the bytes that attention's float64 reference needs for the scores of all heads; 0 for other ops."""
    if workload.op == "flash_attention":
        query, key = args[0], args[1]
        return float(8 * 4 * query.shape[0] * query.shape[2] * query.shape[1] * key.shape[1])
    if workload.op == "paged_attention":
        return float(8 * 4 * args[0].shape[1] * args[5] * args[6])
    return 0.0


def _measure(function: Callable[..., Any], workload: Workload, args: Args, budget_seconds: float) -> Timed:
    changed = set(workload.definition().mutates)

    def fresh() -> Args:
        return tuple(a.clone() if place in changed else a for place, a in enumerate(args)) if changed else args

    try:
        timing = measure(fresh, lambda own: function(*own), budget_seconds=budget_seconds)
    except Exception as error:  # noqa: BLE001 - a library that does not take these arguments is a row of the result
        return None, None, 0, f"{type(error).__name__}: {error}"[:300]
    return timing.seconds, timing.spread, timing.runs, None


def _row(
    workload: Workload,
    implementation: str,
    ceilings: Ceilings,
    timing: Timed,
    library: str | None = None,
    timed: dict[str, float] | None = None,
    error: float | None = None,
) -> Row:
    seconds, spread, runs, wrong = timing
    limit = ceilings.limit_seconds(workload.cost)
    ratio = timed[library] / seconds if seconds and library and timed else None
    return Row(
        workload.op, implementation, workload.label, short(workload.dtype), seconds, spread, runs,
        limit / seconds if seconds and workload.cost.bytes else None, ceilings.bound(workload.cost), ratio, library,
        error, wrong,
    )  # fmt: skip
