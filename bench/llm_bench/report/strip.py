"""A low chart over the time axis of the requests above it, and the caption that says which line is what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from markupsafe import Markup

from llm_report import svg
from llm_report.svg import Frame
from llm_report.units import duration

FRAME = Frame(480, 104, top=8, bottom=22)
HUES = ("hue5", "hue2", "hue0", "hue1", "hue3", "hue4")

Unit = Literal["share", "number"]
Values = Sequence[float | None]
Panel = tuple[Markup, Markup]
"""(caption, picture)"""


def make_panel(
    label: str, name: str, times: Sequence[float], *, lines: Mapping[str, Values], span: float, unit: Unit
) -> Panel:
    """Return a panel. `lines`: values at `times` by name, None without a reading; `name`: the run's."""
    return _caption(label, list(lines)), Markup(_draw(f"{label} of {name}", times, lines, span, unit=unit))


def _caption(label: str, names: Sequence[str]) -> Markup:
    caption = Markup("{}").format(label)
    if len(names) > 1:
        for position, name in enumerate(names):
            caption += Markup(' <span class="key {}">{}</span>').format(HUES[position % len(HUES)], name)
    return caption


def _draw(label: str, times: Sequence[float], lines: Mapping[str, Values], span: float, *, unit: Unit) -> str:
    """Draw the chart; the axis of a share ends at 100%."""
    x = svg.Scale(0.0, span, FRAME.left, FRAME.x_end)
    highest = max((value for values in lines.values() for value in values if value is not None), default=0.0)
    y = svg.linear(1.0 if unit == "share" else highest, FRAME.y_end, FRAME.top)
    parts = []
    for tick in [0.0, 0.5, 1.0] if unit == "share" else y.ticks()[::2]:
        shown = f"{tick:.0%}" if unit == "share" else f"{tick:g}"
        parts.append(svg.line((FRAME.left, y(tick)), (FRAME.x_end, y(tick)), css="grid"))
        parts.append(svg.text((FRAME.left - 6, y(tick) + 4), shown, "small", anchor="end"))
    parts += [svg.text((x(tick), FRAME.y_end + 16), duration(tick), "small", anchor="middle") for tick in x.ticks()]
    for position, values in enumerate(lines.values()):
        shown_values = [(at, value) for at, value in zip(times, values, strict=True) if value is not None]
        points = [(x(at), y(value)) for at, value in shown_values if 0 <= at <= span]
        parts.append(svg.polyline(points, f"thin {HUES[position % len(HUES)]}"))
    parts.append(svg.line((FRAME.left, FRAME.y_end), (FRAME.x_end, FRAME.y_end), css="axis"))
    return svg.document(FRAME.width, FRAME.height, label, parts)
