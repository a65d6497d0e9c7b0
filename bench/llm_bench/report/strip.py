"""A low chart over the time axis of the requests above it: a few lines, each with its name at its peak."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from llm_bench.report import svg
from llm_bench.report.charts import Frame, seconds_tick

FRAME = Frame(480, 104, top=8, bottom=22)
HUES = ("hue5", "hue2", "hue0", "hue1", "hue3", "hue4")
MOST_NAMES = 3
"""More lines than this go without names: they would lie on top of each other."""

Unit = Literal["share", "number"]
Values = Sequence[float | None]


def draw_strip(label: str, times: Sequence[float], lines: Mapping[str, Values], span: float, unit: Unit) -> str:
    """`lines`: by name, values at `times`, None where there was no reading. A share's axis ends at 100%."""
    x = svg.Scale(0.0, span, FRAME.left, FRAME.x_end)
    highest = max((value for values in lines.values() for value in values if value is not None), default=0.0)
    y = svg.linear(1.0 if unit == "share" else highest, FRAME.y_end, FRAME.top)
    parts = []
    for tick in [0.0, 0.5, 1.0] if unit == "share" else y.ticks()[::2]:
        parts.append(svg.line(FRAME.left, y(tick), FRAME.x_end, y(tick), "grid"))
        parts.append(
            svg.text(FRAME.left - 6, y(tick) + 4, f"{tick:.0%}" if unit == "share" else f"{tick:g}", "small", "end")
        )
    parts += [svg.text(x(tick), FRAME.y_end + 16, seconds_tick(tick), "small", "middle") for tick in x.ticks()]
    for position, (name, values) in enumerate(lines.items()):
        hue = HUES[position % len(HUES)]
        shown = [(at, value) for at, value in zip(times, values, strict=True) if 0 <= at <= span and value is not None]
        parts.append(svg.polyline([(x(at), y(value)) for at, value in shown], f"thin {hue}"))
        if 1 < len(lines) <= MOST_NAMES and shown:
            parts.append(_name(name, max(shown, key=lambda point: point[1]), x, y, hue))
    parts.append(svg.line(FRAME.left, FRAME.y_end, FRAME.x_end, FRAME.y_end, "axis"))
    return svg.document(FRAME.width, FRAME.height, label, parts)


def _name(
    name: str, peak: tuple[float, float], x: Callable[[float], float], y: Callable[[float], float], hue: str
) -> str:
    at = min(max(x(peak[0]), FRAME.left + 30), FRAME.x_end - 30)
    return svg.text(at, max(y(peak[1]) - 5, 10), name, f"small strong halo fill {hue}", "middle")
