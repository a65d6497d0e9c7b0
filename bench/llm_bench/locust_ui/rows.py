"""The rows that the bench adds to locust's statistics: their names, their rounding, and their table.

Nothing here imports locust, because that patches the process.
"""

from __future__ import annotations

from math import floor, log10
from typing import Any

from rich.console import Console
from rich.table import Table

REQUEST = "SSE"
"""Locust's type of a whole request."""
METRICS = ("TTFT", "TPOT", "ITL")
DIGITS = 4

COLUMNS = {
    "name": "Class",
    "metric": "Metric",
    "count": "# Values",
    "mean": "Mean (ms)",
    "p50": "P50 (ms)",
    "p90": "P90 (ms)",
    "p99": "P99 (ms)",
    "p999": "P99.9 (ms)",
    "max": "Max (ms)",
}
QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p999": 0.999}


def four_digits(milliseconds: float) -> float:
    if milliseconds <= 0:
        return 0.0
    return round(milliseconds, DIGITS - 1 - floor(log10(milliseconds)))


def make_rows(stats: Any) -> list[dict[str, Any]]:
    """Return the rows of locust's statistics: one for each class and metric, by COLUMNS."""
    found = [key for key, entry in stats.entries.items() if key[1] in METRICS and entry.num_requests]
    found.sort(key=lambda key: (key[0], METRICS.index(key[1])))
    return [_row(name, metric, stats.entries[name, metric]) for name, metric in found]


def print_rows(stats: Any, console: Console | None = None) -> None:
    """Print the rows, in milliseconds and 80 columns."""
    table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0), pad_edge=False)
    for key, title in COLUMNS.items():
        left = key in ("name", "metric")
        table.add_column(title.removesuffix(" (ms)"), justify="left" if left else "right", no_wrap=True)
    for row in make_rows(stats):
        table.add_row(*(f"{value:.4g}" if isinstance(value, float) else str(value) for value in row.values()))
    if table.row_count:
        (console or Console()).print(table)


def _row(name: str, metric: str, entry: Any) -> dict[str, Any]:
    return {
        "name": name,
        "metric": metric,
        "count": entry.num_requests,
        "mean": four_digits(entry.avg_response_time),
        **{key: entry.get_response_time_percentile(quantile) for key, quantile in QUANTILES.items()},
        "max": four_digits(entry.max_response_time),
    }
