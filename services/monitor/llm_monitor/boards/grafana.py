"""The boards for Grafana, made with its foundation SDK.

    python -m llm_monitor.boards.grafana FOLDER     # writes one JSON file a board

Import them, or provision the folder. The data source is chosen in the board: a Prometheus, or the monitor itself.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import BigValueGraphMode, LineInterpolation, StackingMode, VisibilityMode
from grafana_foundation_sdk.models.dashboard import DashboardCursorSync, DataSourceRef, VariableRefresh

from llm_monitor.boards.catalog import BOARDS
from llm_monitor.boards.panel import SCOPES, Board, Filter, Panel, Query, Unit, template

WINDOW = "$__rate_interval"
GROUPING: Filter = "engine"
"""Engines are shown one by one, since Grafana's boards have no choice of grouping."""
UNITS: dict[Unit, str] = {
    "count": "short",
    "seconds": "s",
    "share": "percentunit",
    "per_second": "cps",
    "bytes": "bytes",
    "watts": "watt",
    "celsius": "celsius",
    "hertz": "hertz",
}
VARIABLES: dict[Filter, tuple[str, str]] = {
    "model": ("vllm:num_requests_running", SCOPES["engines"]["model"]),
    "engine": ("vllm:num_requests_running", SCOPES["engines"]["engine"]),
    "class": ("gateway_queue_depth", SCOPES["classes"]["class"]),
    "tenant": ("gateway_tenant_requests_total", SCOPES["tenants"]["tenant"]),
}
"""Metric and label that a variable's values come from."""
SOURCE = DataSourceRef(type_val="prometheus", uid="${source}")
WIDTH, HEIGHT, STAT_HEIGHT = 6, 7, 4


def to_json(board: Board) -> str:
    """Return a board as Grafana imports it."""
    made = (
        dashboard.Dashboard(f"LLM {board.title}")
        .uid(f"llm-monitor-{board.key}")
        .tags(["llm-monitor", "generated"])
        .refresh("5s")
        .time("now-15m", "now")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .with_variable(dashboard.DatasourceVariable("source").label("Data source").type("prometheus"))
    )
    for name in board.filters:
        made = made.with_variable(_variable(name))
    for section in board.sections:
        made = made.with_row(dashboard.Row(section.title))
        for panel in section.panels:
            made = made.with_panel(_panel(panel))
    return JSONEncoder(sort_keys=True, indent=2).encode(made.build())


def _variable(name: Filter) -> dashboard.QueryVariable:
    metric, label = VARIABLES[name]
    return (
        dashboard.QueryVariable(name)
        .label(name.capitalize())
        .datasource(SOURCE)
        .query(f"label_values({metric}, {label})")
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .multi(True)
        .include_all(True)
        .all_value(".*")
    )


def _panel(panel: Panel) -> stat.Panel | timeseries.Panel:
    about = "\n\n".join(filter(None, (panel.shows, f"From: {panel.source}", panel.cannot)))
    if panel.kind == "stat":
        small = stat.Panel().title(panel.title).description(about).datasource(SOURCE).unit(UNITS[panel.unit])
        small = small.graph_mode(BigValueGraphMode.AREA).span(4).height(STAT_HEIGHT)
        return small.with_target(_target(panel.queries[0]))
    made = (
        timeseries.Panel()
        .title(panel.title)
        .description(about)
        .datasource(SOURCE)
        .unit(UNITS[panel.unit])
        .min(0)
        .span(WIDTH)
        .height(HEIGHT)
        .line_interpolation(LineInterpolation.LINEAR)
        .show_points(VisibilityMode.NEVER)
    )
    if panel.kind == "area":
        made = made.stacking(common.StackingConfig().mode(StackingMode.NORMAL)).fill_opacity(40)
    for query in panel.queries[:1] if panel.kind == "blocks" else panel.queries:
        made = made.with_target(_target(query))
    return made


def _target(query: Query) -> prometheus.Dataquery:
    by: Filter | str = "" if "histogram_quantile" in query.expression else GROUPING
    target = prometheus.Dataquery().expr(template(query.expression, by, WINDOW)).datasource(SOURCE)  # type: ignore[arg-type]
    return target.legend_format(query.name) if query.name else target


def main(argv: Sequence[str]) -> None:
    if len(argv) != 1:
        sys.exit("usage: python -m llm_monitor.boards.grafana FOLDER")
    folder = Path(argv[0])
    folder.mkdir(parents=True, exist_ok=True)
    for board in BOARDS:
        (folder / f"{board.key}.json").write_text(to_json(board) + "\n", encoding="utf-8")
    print(f"{len(BOARDS)} boards in {folder}")


if __name__ == "__main__":
    main(sys.argv[1:])
