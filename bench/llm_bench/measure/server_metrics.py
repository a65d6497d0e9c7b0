"""The server's own metrics before, during and after the load, and whether they agree with the client's.

The names are vLLM's. Several addresses (the engines behind a gateway) are summed; KV-cache usage is averaged.

Agreement: the client's percentile, counted from the send, lies in the bucket of the server's histogram that holds the
same percentile, or in the next one, because the client also sees the network and the gateway.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from llm_bench.measure.histograms import Exposition, histogram_delta, quantile_bucket
from llm_bench.measure.stats import Distribution
from llm_bench.measure.summary import ClassFigures
from llm_contract import metrics

QUANTILES = (0.5, 0.9, 0.99)

SERIES = {
    "running": metrics.REQUESTS_RUNNING.name,
    "waiting": metrics.REQUESTS_WAITING.name,
    "kv_usage": metrics.KV_CACHE_USAGE.name,
    "generation_tokens": metrics.GENERATION_TOKENS.name,
    "prompt_tokens": metrics.PROMPT_TOKENS.name,
    "preemptions": metrics.PREEMPTIONS.name,
    "prefix_queries": metrics.PREFIX_CACHE_QUERIES.name,
    "prefix_hits": metrics.PREFIX_CACHE_HITS.name,
}
HISTOGRAMS: dict[str, tuple[str, Callable[[ClassFigures], Distribution]]] = {
    "TTFT": (metrics.TIME_TO_FIRST_TOKEN.name, lambda figures: figures.ttft_from_send),
    "TPOT": (metrics.TIME_PER_OUTPUT_TOKEN.name, lambda figures: figures.tpot),
    "ITL": (metrics.INTER_TOKEN_LATENCY.name, lambda figures: figures.itl_token),
}
WANTED = tuple(name.encode() for name in (*SERIES.values(), *(name for name, _ in HISTOGRAMS.values())))

Agrees = Literal["same bucket", "next bucket", "apart"]


@dataclass(frozen=True, slots=True)
class Agreement:
    """One percentile as the client and the server measured it."""

    metric: str
    quantile: float
    client: float
    low: float
    """Lower bound of the server's bucket, in seconds."""
    high: float | None
    """None: the bucket has no end."""
    agrees: Agrees


@dataclass(frozen=True, slots=True)
class ServerMetrics:
    addresses: list[str]
    times: list[float] = field(default_factory=list)
    """Times of the scrapes, in seconds from the start of the run."""
    series: dict[str, list[float]] = field(default_factory=dict)
    """Values at `times`, by name of SERIES, for those that the server exports."""
    agreement: list[Agreement] = field(default_factory=list)

    def grown(self, name: str) -> float | None:
        """Return a counter's growth from the first scrape to the last; None if the server does not export it."""
        values = self.series.get(name)
        return values[-1] - values[0] if values else None

    @property
    def prefix_hit_rate(self) -> float | None:
        queries = self.grown("prefix_queries")
        return (self.grown("prefix_hits") or 0.0) / queries if queries else None


def read_scrapes(
    addresses: Sequence[str], scrapes: Sequence[tuple[float, Exposition]], figures: ClassFigures
) -> ServerMetrics | None:
    """Read the metrics from (seconds from the run's start, all addresses together); None unless there are two."""
    if len(scrapes) < 2:
        return None
    (_, first), (_, last) = scrapes[0], scrapes[-1]
    known = {key: name for key, name in SERIES.items() if name in last.values}
    return ServerMetrics(
        list(addresses),
        [round(at, 3) for at, _ in scrapes],
        {key: [scrape.values.get(name, 0.0) for _, scrape in scrapes] for key, name in known.items()},
        compare_histograms(first, last, figures),
    )


def compare_histograms(before: Exposition, after: Exposition, figures: ClassFigures) -> list[Agreement]:
    found = []
    for label, (name, read) in HISTOGRAMS.items():
        delta = histogram_delta(before.buckets.get(name, {}), after.buckets.get(name, {}))
        for quantile in QUANTILES:
            bucket, client = quantile_bucket(delta, quantile), read(figures).percentiles.get(f"p{quantile * 100:g}")
            if bucket is not None and client is not None:
                low, high = bucket
                agrees = _agrees(client, low, high, [bound for bound, _ in delta])
                found.append(Agreement(label, quantile, client, low, None if high == float("inf") else high, agrees))
    return found


def _agrees(value: float, low: float, high: float, bounds: Sequence[float]) -> Agrees:
    if low <= value <= high:
        return "same bucket"
    edges = [0.0, *bounds]
    wider = (max(edge for edge in [-1.0, *edges] if edge < low), min([e for e in edges if e > high], default=high))
    return "next bucket" if wider[0] <= value <= wider[1] else "apart"


def merge(pages: Sequence[Exposition]) -> Exposition:
    merged = Exposition()
    for page in pages:
        for name, value in page.values.items():
            share = len(pages) if name == SERIES["kv_usage"] else 1
            merged.values[name] = merged.values.get(name, 0.0) + value / share
        for name, buckets in page.buckets.items():
            mine = merged.buckets.setdefault(name, {})
            for bound, count in buckets.items():
                mine[bound] = mine.get(bound, 0.0) + count
    return merged
