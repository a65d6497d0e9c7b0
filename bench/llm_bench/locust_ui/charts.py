"""Charts of TTFT, TPOT and ITL over time: a colour per class, a bold line for P99 and a thin one for P50."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from llm_bench.locust_ui.history import HistoryPoint
from llm_bench.locust_ui.rows import METRICS
from llm_report import svg
from llm_report.svg import Frame
from llm_report.units import duration

FRAME = Frame(360, 220, left=52, right=12, top=16, bottom=26)
SHORTEST = 10.0
"""Shortest time axis, in seconds."""
WHAT = {
    "TTFT": "Time to first token, from the scheduled time",
    "TPOT": "Time per output token, of each request",
    "ITL": "Time between two tokens",
}


def draw_charts(points: Sequence[HistoryPoint]) -> str:
    """Return HTML: a key and a figure for each metric; empty while there is nothing to draw."""
    names = sorted({name for point in points for name, _ in point.values})
    if not names:
        return ""
    key = "".join(f'<b class="{_hue(names, name)}">{escape(name)}</b> ' for name in names)
    figures = (
        f"<figure><figcaption>{WHAT[metric]}</figcaption>{_draw(points, metric, names)}</figure>" for metric in METRICS
    )
    return (
        f'<p class="key">{key}P99 bold, P50 thin, each over the last ten seconds</p>'
        f'<div class="grid">{"".join(figures)}</div>'
    )


def _draw(points: Sequence[HistoryPoint], metric: str, names: Sequence[str]) -> str:
    rows = {name: [(point.at, point.values[name, metric]) for point in points if (name, metric) in point.values]
            for name in names}  # fmt: skip
    highest = max((max(values) for row in rows.values() for _, values in row), default=0.0)
    x = svg.Scale(0.0, max(points[-1].at, SHORTEST), FRAME.left, FRAME.x_end)
    y = svg.linear(highest / 1e3, FRAME.y_end, FRAME.top)
    parts = []
    for tick in y.ticks():
        parts.append(svg.line((FRAME.left, y(tick)), (FRAME.x_end, y(tick)), css="grid"))
        parts.append(svg.text((FRAME.left - 6, y(tick) + 4), duration(round(tick, 9)), "small", anchor="end"))
    parts += [svg.text((x(tick), FRAME.y_end + 17), f"{tick:g} s", "small", anchor="middle") for tick in x.ticks()]
    parts.append(svg.line((FRAME.left, FRAME.y_end), (FRAME.x_end, FRAME.y_end), css="axis"))
    for name, row in rows.items():
        for quantile, css in ((0, "thin fine"), (1, "thin")):
            line = [(x(at), y(values[quantile] / 1e3)) for at, values in row]
            parts.append(svg.polyline(line, f"{css} {_hue(names, name)}"))
    return svg.document(FRAME.width, FRAME.height, f"{WHAT[metric]}, by class, over time", parts)


def _hue(names: Sequence[str], name: str) -> str:
    return f"hue{names.index(name) % 6}"
