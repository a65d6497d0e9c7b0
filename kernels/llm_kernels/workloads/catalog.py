"""All workloads: `small` for correctness (ragged shapes, edges), `large` for the bench (the shapes of serving)."""

from __future__ import annotations

from llm_kernels.workloads import attention, cache, gemv, products, rows, sampling
from llm_kernels.workloads.base import Workload

_FAMILIES = (rows, cache, attention, products, gemv, sampling)


def small(op: str | None = None) -> list[Workload]:
    return _of(op, [workload for family in _FAMILIES for workload in family.small()])


def large(op: str | None = None) -> list[Workload]:
    return _of(op, [workload for family in _FAMILIES for workload in family.large()])


def _of(op: str | None, workloads: list[Workload]) -> list[Workload]:
    return [workload for workload in workloads if op in (None, workload.op)]
