"""Rows for TTFT, TPOT and ITL in locust's statistics, next to `SSE`, the whole request.

Only whole requests fire locust's `request` event, so locust's totals, rates and charts count requests. The other rows
hold values of those requests and are written straight into the statistics; locust's workers send them to the master
like any row.

Locust rounds to two digits before it counts. A hook replaces that (docs: customizing response time bucketing); with
four digits a percentile is off by 0.05% at most.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import locust.stats

from llm_bench.locust_ui.rows import REQUEST, four_digits
from llm_bench.measure.record import RequestRecord


def keep_four_digits() -> None:
    """Make locust count with four digits, in this process from now on."""
    locust.stats.bucket_response_time = four_digits


def log_record(environment: Any, record: RequestRecord) -> None:
    """Record a request that has ended in the statistics of locust's environment."""
    environment.events.request.fire(
        request_type=REQUEST,
        name=record.class_name,
        response_time=1e3 * (record.e2e or 0.0),
        response_length=record.output_tokens,
        exception=None if record.ok else RuntimeError(f"{record.outcome}: {record.detail}"),
        context={},
    )
    if record.ok:
        _log(environment, record, "TTFT", [record.ttft])
        _log(environment, record, "TPOT", [record.tpot])
        _log(environment, record, "ITL", record.token_gaps())


def _log(environment: Any, record: RequestRecord, metric: str, values: Sequence[float | None]) -> None:
    entry = environment.stats.get(record.class_name, metric)
    for seconds in values:
        if seconds is not None:
            entry.log(1e3 * seconds, 0)
