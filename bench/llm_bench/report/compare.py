"""The comparison that the table, the page and the JSON all show. Ratios are to the first run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from llm_bench.measure.summary import ClassFigures
from llm_bench.results.result import Result
from llm_report import units

Unit = Literal["seconds", "share", "count", "rate"]


@dataclass(frozen=True, slots=True)
class ReportedMetric:
    key: str
    label: str
    unit: Unit
    read: Callable[[ClassFigures], float | None]


METRICS: tuple[ReportedMetric, ...] = (
    ReportedMetric("requests", "Requests", "count", lambda c: c.requests),
    ReportedMetric("ttft_p50", "TTFT P50", "seconds", lambda c: c.ttft.p50),
    ReportedMetric("ttft_p99", "TTFT P99", "seconds", lambda c: c.ttft.p99),
    ReportedMetric("tpot_p50", "TPOT P50", "seconds", lambda c: c.tpot.p50),
    ReportedMetric("slo_attainment", "SLO met", "share", lambda c: c.slo_attainment),
    ReportedMetric("longest_wait", "Longest wait", "seconds", lambda c: c.longest_wait),
    ReportedMetric("total_tokens", "Tokens", "count", lambda c: c.total_tokens),
)

THROUGHPUT: tuple[ReportedMetric, ...] = (
    ReportedMetric("failed", "Failed", "count", lambda c: c.failed),
    ReportedMetric("rejected", "Rejected", "count", lambda c: c.rejected),
    ReportedMetric("requests_per_second", "Requests /s", "rate", lambda c: c.requests_per_second),
    ReportedMetric("prompt_tokens_per_second", "Tokens/s in", "rate", lambda c: c.prompt_tokens_per_second),
    ReportedMetric("output_tokens_per_second", "Tokens/s out", "rate", lambda c: c.output_tokens_per_second),
    ReportedMetric("e2e_p50", "E2E P50", "seconds", lambda c: c.e2e.p50),
    ReportedMetric("e2e_p99", "E2E P99", "seconds", lambda c: c.e2e.p99),
)
"""Shown for a run in addition to METRICS."""


@dataclass(frozen=True, slots=True)
class Row:
    """One metric of one class over all runs."""

    class_name: str
    metric: str
    label: str
    unit: Unit
    values: list[float | None]
    ratios: list[float | None]
    """To the first run; None where either value is missing or the first is 0."""


def compare(results: Sequence[Result], metrics: Sequence[ReportedMetric] = METRICS) -> list[Row]:
    """Return a row per class and metric. Classes are in the first run's order; those of later runs follow."""
    names = list(dict.fromkeys(name for result in results for name in result.summary.classes))
    names.sort(key=lambda name: name == "all")
    return [_row(name, metric, results) for name in names for metric in metrics]


def _row(name: str, metric: ReportedMetric, results: Sequence[Result]) -> Row:
    values = [
        metric.read(result.summary.classes[name]) if name in result.summary.classes else None for result in results
    ]
    base = values[0]
    ratios = [value / base if base and value is not None else None for value in values]
    return Row(name, metric.key, metric.label, metric.unit, values, ratios)


def show(value: float | None, unit: Unit) -> str:
    """Format a figure in its unit."""
    return {"seconds": units.seconds, "share": units.share, "count": units.count, "rate": units.rate}[unit](value)
