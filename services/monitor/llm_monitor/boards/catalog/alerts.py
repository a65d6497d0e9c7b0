"""Alerts: the list is a view of the page's own; below it, when they fired."""

from __future__ import annotations

from llm_monitor.boards.panel import Board, Panel, Query, Section

ALERTS = Board(
    key="alerts",
    title="Alerts",
    sections=(
        Section(
            title="Over time",
            panels=(
                Panel(
                    key="firing",
                    title="Alerts, by state",
                    kind="area",
                    unit="count",
                    needs="an alert in the shown range",
                    queries=(Query(expression="sum by (alertstate) (ALERTS)"),),
                    shows="Alerts that were pending and firing.",
                    source="ALERTS, written by the rules' evaluation each second.",
                ),
                Panel(
                    key="by-name",
                    title="Firing, by rule",
                    kind="area",
                    unit="count",
                    needs="an alert in the shown range",
                    queries=(Query(expression='sum by (alertname) (ALERTS{alertstate="firing"})'),),
                    shows="Firing alerts of each rule.",
                    source="ALERTS, written by the rules' evaluation each second.",
                ),
            ),
        ),
    ),
)
