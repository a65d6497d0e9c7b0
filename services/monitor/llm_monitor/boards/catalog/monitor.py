"""Targets and the monitor itself: does it see every target, how fast, and how much does it hold."""

from __future__ import annotations

from llm_contract import monitor_metrics as names
from llm_monitor.boards.panel import Board, Panel, Query, Section
from llm_monitor.boards.shorthand import PERCENTILES

_CYCLE = "histogram_quantile({}, sum by (le) (rate({}_bucket[$window])))"

MONITOR = Board(
    key="monitor",
    title="Targets",
    sections=(
        Section(
            title="Scrapes",
            panels=(
                Panel(
                    key="up",
                    title="Targets up, by job",
                    unit="count",
                    queries=(Query(expression=f"sum by (job) ({names.UP.name})"),),
                    shows="Targets that answered their last scrape.",
                    source="up, written after each scrape.",
                ),
                Panel(
                    key="duration",
                    title="Scrape duration, slowest of each job",
                    unit="seconds",
                    queries=(Query(expression=f"max by (job) ({names.SCRAPE_DURATION.name})"),),
                    shows="Time from the request to the parsed page.",
                    source="Written after each scrape.",
                ),
                Panel(
                    key="samples",
                    title="Samples a scrape, by job",
                    kind="area",
                    unit="count",
                    queries=(Query(expression=f"sum by (job) ({names.SCRAPE_SAMPLES.name})"),),
                    shows="Samples that all targets of a job expose.",
                    source="Written after each scrape.",
                ),
                Panel(
                    key="outcomes",
                    title="Scrapes, by outcome",
                    kind="area",
                    unit="per_second",
                    queries=(Query(expression=f"sum by (outcome) (rate({names.SCRAPES.name}[$window]))"),),
                    shows="How scrapes ended: ok, timeout, connect, status, size, garbage.",
                    source="Counter of the monitor, over the window.",
                ),
            ),
        ),
        Section(
            title="Itself",
            panels=(
                Panel(
                    key="cycle",
                    title="Cycle",
                    kind="percentiles",
                    unit="seconds",
                    queries=tuple(
                        Query(name=name, expression=_CYCLE.format(value, names.CYCLE_SECONDS.name))
                        for value, name in PERCENTILES
                    ),
                    shows="From a cycle's start until all targets answered; it waits 80 ms at most.",
                    source="Histogram of the monitor, cycles of the window only.",
                ),
                Panel(
                    key="skipped",
                    title="Cycles skipped",
                    unit="per_second",
                    queries=(Query(expression=f"sum(rate({names.CYCLES_SKIPPED.name}[$window]))"),),
                    shows="Cycles left out, since the one before took too long. The screen is later then.",
                    source="Counter of the monitor, over the window.",
                ),
                Panel(
                    key="series",
                    title="Series in memory",
                    unit="count",
                    queries=(Query(expression=f"max({names.SERIES.name})"),),
                    shows="Series of all targets.",
                    source="Gauge of the monitor.",
                ),
                Panel(
                    key="viewers",
                    title="Viewers",
                    unit="count",
                    queries=(Query(expression=f"max({names.VIEWERS.name})"),),
                    shows="Open live streams. A view is evaluated once, however many watch it.",
                    source="Gauge of the monitor.",
                ),
            ),
        ),
    ),
)
