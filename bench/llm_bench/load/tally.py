"""The state of a load so far, small enough to be sent between processes twice a second.

Waits are counted in buckets of 1%: enough for a line on a terminal. The figures of a result come from the records.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from llm_bench.measure.record import RequestRecord

WIDTH = math.log(1.01)
"""Width of a bucket on a logarithmic scale."""
SHORTEST = 1e-6
"""Seconds; shorter times count as this."""

Buckets = dict[int, int]


@dataclass(slots=True)
class Tally:
    in_flight: int = 0
    finished: int = 0
    failed: int = 0
    """Finished requests that did not end well, rejections included."""
    ttft: Buckets = field(default_factory=dict)
    """Requests that ended well by bucket of their time to first token."""
    tpot: Buckets = field(default_factory=dict)

    def add(self, record: RequestRecord) -> None:
        """Count a request that has ended."""
        self.finished += 1
        if not record.ok:
            self.failed += 1
            return
        _count(self.ttft, record.ttft)
        _count(self.tpot, record.tpot)

    def line(self) -> str:
        """Return `12 in flight, TTFT P50 210 ms P99 1.30 s, TPOT P50 8.4 ms P99 11 ms, 3 failed`."""
        parts = [f"{self.in_flight} in flight"]
        for name, buckets in (("TTFT", self.ttft), ("TPOT", self.tpot)):
            p50, p99 = quantile(buckets, 0.5), quantile(buckets, 0.99)
            if p50 is not None and p99 is not None:
                parts.append(f"{name} P50 {_seconds(p50)} P99 {_seconds(p99)}")
        if self.failed:
            parts.append(f"{self.failed} failed")
        return ", ".join(parts)

    def plain(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def merge(cls, plain: Iterable[dict[str, Any]]) -> Self:
        """Return the sum of several processes' tallies, in the form that `plain` returns."""
        merged = cls()
        for one in plain:
            merged.in_flight += one["in_flight"]
            merged.finished += one["finished"]
            merged.failed += one["failed"]
            for mine, theirs in ((merged.ttft, one["ttft"]), (merged.tpot, one["tpot"])):
                for bucket, count in theirs.items():
                    mine[bucket] = mine.get(bucket, 0) + count
        return merged


def quantile(buckets: Buckets, share: float) -> float | None:
    """Return the quantile in seconds, to within a bucket; None without samples."""
    wanted, seen = share * sum(buckets.values()), 0
    for bucket in sorted(buckets):
        seen += buckets[bucket]
        if seen >= wanted:
            return math.exp((bucket + 0.5) * WIDTH)
    return None


def _count(buckets: Buckets, seconds: float | None) -> None:
    if seconds is not None:
        bucket = math.floor(math.log(max(seconds, SHORTEST)) / WIDTH)
        buckets[bucket] = buckets.get(bucket, 0) + 1


def _seconds(value: float) -> str:
    if value < 0.0095:
        return f"{value * 1e3:.1f} ms"
    return f"{value * 1e3:.0f} ms" if value < 0.995 else f"{value:.2f} s"
