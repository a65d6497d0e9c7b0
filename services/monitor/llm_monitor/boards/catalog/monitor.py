"""The monitor itself: does it see every target, how fast, and how much does it hold."""

from __future__ import annotations

from llm_monitor.boards.panel import Board, Panel, Query, Section

MONITOR = Board(
    key="monitor",
    title="Monitor",
    sections=(
        Section(
            title="Scrapes",
            panels=(
                Panel(
                    key="up",
                    title="Targets up, by job",
                    unit="count",
                    queries=(Query(expression="sum by (job) (up)"),),
                    shows="Targets that answered their last scrape.",
                    source="up, written after each scrape.",
                ),
                Panel(
                    key="duration",
                    title="Scrape duration, slowest of each job",
                    unit="seconds",
                    queries=(Query(expression="max by (job) (scrape_duration_seconds)"),),
                    shows="Time from the request to the parsed page.",
                    source="Written after each scrape.",
                ),
                Panel(
                    key="samples",
                    title="Samples a scrape, by job",
                    kind="area",
                    unit="count",
                    queries=(Query(expression="sum by (job) (scrape_samples_scraped)"),),
                    shows="Samples that all targets of a job expose.",
                    source="Written after each scrape.",
                ),
            ),
        ),
    ),
)
