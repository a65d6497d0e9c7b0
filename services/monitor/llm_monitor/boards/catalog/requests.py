"""Requests: how many, how long, and one of them as a waterfall of its spans (a view of the page's own)."""

from __future__ import annotations

from llm_contract import gateway_metrics, metrics
from llm_monitor.boards.panel import Board, Panel, Query, Section
from llm_monitor.boards.shorthand import mean_of_all, rate

REQUESTS = Board(
    key="requests",
    title="Requests",
    filters=("model", "engine", "class"),
    sections=(
        Section(
            title="All requests",
            panels=(
                Panel(
                    key="by-class",
                    title="Requests, by class",
                    kind="area",
                    unit="per_second",
                    queries=(
                        Query(
                            expression=f"sum by (class) (rate({gateway_metrics.REQUESTS.name}{{$classes}}[$window]))"
                        ),
                    ),
                    shows="Requests that ended at the gateway, a second.",
                    source="Counter of the gateway, over the window.",
                ),
                Panel(
                    key="finished",
                    title="Finished in engines, by reason",
                    kind="area",
                    unit="per_second",
                    queries=(Query(expression=rate(metrics.REQUEST_SUCCESS.name, "engines", by="finished_reason")),),
                    shows="Requests that ended in an engine, a second.",
                    source="Counter of the engines, over the window.",
                ),
                Panel(
                    key="time",
                    title="Where the time goes, mean",
                    kind="area",
                    unit="seconds",
                    queries=(
                        Query(name="gateway queue", expression=mean_of_all(gateway_metrics.QUEUE_WAIT.name, "classes")),
                        Query(name="engine queue", expression=mean_of_all(metrics.QUEUE_TIME.name, "engines")),
                        Query(name="prefill", expression=mean_of_all(metrics.PREFILL_TIME.name, "engines")),
                        Query(name="decode", expression=mean_of_all(metrics.DECODE_TIME.name, "engines")),
                    ),
                    shows="Mean time of a request by phase, from the gateway's queue to its last token.",
                    source="Sums and counts of histograms of gateway and engines, over the window.",
                    cannot="Each phase has its own requests of the window; for one request, see its waterfall.",
                ),
            ),
        ),
    ),
)
