"""What the server said of itself, over the same time axis as the requests above it."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from llm_bench.report import svg
from llm_bench.report.charts import Frame, seconds_tick
from llm_bench.results import Result
from llm_bench.server_metrics import ServerMetrics

FRAME = Frame(480, 104, top=8, bottom=22)


def panels(result: Result, span: float) -> list[tuple[str, Markup]]:
    """(caption, picture) of what the server exports; none where it exports nothing."""
    server = result.server
    if server is None:
        return []
    found = []
    for label, lines, share in (
        (
            "Server: requests running and waiting",
            {key: server.series.get(key, []) for key in ("running", "waiting")},
            False,
        ),
        ("Server: KV cache in use", {"KV cache": server.series.get("kv_usage", [])}, True),
        ("Server: output tokens per second", {"tokens/s": _rates(server, "generation_tokens")}, False),
    ):
        drawn = {name: values for name, values in lines.items() if any(values)}
        if drawn:
            found.append((label, Markup(_panel(f"{label} of {result.run.name}", server.times, drawn, span, share))))
    return found


def _rates(server: ServerMetrics, name: str) -> list[float]:
    """Growth per second of a counter up to each scrape."""
    values, times = server.series.get(name, []), server.times
    steps = [(values[n] - values[n - 1]) / (times[n] - times[n - 1]) for n in range(1, len(values))]
    return [0.0, *steps] if steps else []


def _panel(label: str, times: Sequence[float], lines: dict[str, list[float]], span: float, share: bool) -> str:
    x = svg.Scale(0.0, span, FRAME.left, FRAME.x_end)
    y = svg.linear(1.0 if share else max(max(values) for values in lines.values()), FRAME.y_end, FRAME.top)
    parts = []
    for tick in [0.0, 0.5, 1.0] if share else y.ticks()[::2]:
        parts.append(svg.line(FRAME.left, y(tick), FRAME.x_end, y(tick), "grid"))
        parts.append(svg.text(FRAME.left - 6, y(tick) + 4, f"{tick:.0%}" if share else f"{tick:g}", "small", "end"))
    parts += [svg.text(x(tick), FRAME.y_end + 16, seconds_tick(tick), "small", "middle") for tick in x.ticks()]
    shown = [n for n, at in enumerate(times) if 0 <= at <= span]
    for hue, (name, values) in zip(("hue5", "hue2"), lines.items(), strict=False):
        points = [(x(times[n]), y(values[n])) for n in shown]
        parts.append(svg.polyline(points, f"thin {hue}"))
        if len(lines) > 1 and points:
            peak = max(shown, key=lambda n: values[n])  # used at once
            at = min(max(x(times[peak]), FRAME.left + 30), FRAME.x_end - 30)
            parts.append(svg.text(at, max(y(values[peak]) - 5, 10), name, f"small strong halo fill {hue}", "middle"))
    parts.append(svg.line(FRAME.left, FRAME.y_end, FRAME.x_end, FRAME.y_end, "axis"))
    return svg.document(FRAME.width, FRAME.height, label, parts)
