"""The report's pictures. Each is drawn once: inline in the page, and as a file for a paper.

A hue stands for a method in every picture. Whiskers are 95% intervals, or the range of the runs for times.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from llm_quantize.evaluation.statistics import Interval
from llm_quantize.report.judgement import pareto_front
from llm_report import svg

WIDTH = 480
LARGEST_LOSS = 0.30
"""A loss above this is drawn as an arrow at the edge, with its value: it would flatten all others."""
LABEL_CHARACTERS = 18
CHARACTER = 7.5
"""Width of a bold character, in drawing units."""
ROW = 22
PAPER = """text{font:13px Helvetica,Arial,sans-serif;fill:#000}.small{font-size:12px;fill:#333}.faint{fill:#555}
.strong{font-weight:600}.fill{fill:var(--hue)}.grid{stroke:#ddd}.axis{stroke:#555}.zero{stroke:#333;stroke-width:1.2}
.limit{stroke:#b3261e;stroke-dasharray:5 4;stroke-width:1.2}.front{stroke:#808080;stroke-width:1.6;fill:none;
stroke-dasharray:4 3}.whisker{stroke:var(--hue);stroke-width:2;stroke-opacity:.6}.point,.mark{fill:var(--hue)}
.thin{stroke:var(--hue);stroke-width:1.6;fill:none}.halo{paint-order:stroke;stroke:#fff;stroke-width:4px}
.hue0{--hue:#0067b1}.hue1{--hue:#b87300}.hue2{--hue:#b3405a}.hue3{--hue:#00806a}.hue4{--hue:#6f5bb5}
.hue5{--hue:#5b6470}.base{--hue:#808080}"""


@dataclass(frozen=True, slots=True)
class Drawing:
    """A picture that is not yet in a page or a file."""

    width: float
    height: float
    label: str
    parts: list[str]

    def inline(self) -> str:
        return svg.document(self.width, self.height, self.label, self.parts)

    def file(self) -> str:
        return svg.standalone(self.width, self.height, self.label, self.parts, style=PAPER)


@dataclass(frozen=True, slots=True)
class Row:
    """One estimate of a forest plot."""

    name: str
    css: str
    value: Interval
    note: str


def forest(rows: Sequence[Row], label: str, *, show: Callable[[float], str], limit: float | None = None) -> Drawing:
    """Draw estimates with their intervals below one another, around the line of no change."""
    left, right = 132, 92
    kept = [one.value for one in rows if abs(one.value.value) <= LARGEST_LOSS] or [Interval(0.0, -0.01, 0.01)]
    ends = [end for one in kept for end in (one.low, one.high)] + [0.0, *([limit] if limit is not None else [])]
    x = scale_around(min(ends), max(ends), left, WIDTH - right)
    height = len(rows) * ROW + 40
    bottom = height - 26
    parts = _x_axis(x, bottom, show)
    parts.append(svg.line((x(0.0), 6), (x(0.0), bottom), "zero"))
    if limit is not None and x.low < limit < x.high:
        parts.append(svg.line((x(limit), 6), (x(limit), bottom), "limit"))
    for place, row in enumerate(rows):
        y = 20.0 + place * ROW
        parts.append(svg.text((left - 10, y + 4), row.name[:LABEL_CHARACTERS], "small strong", anchor="end"))
        parts.append(svg.text((WIDTH - right + 8, y + 4), row.note, "small"))
        if abs(row.value.value) > LARGEST_LOSS:
            edge, way = (x.end, 1) if row.value.value > 0 else (x.start, -1)
            parts.append(svg.polygon([(edge, y), (edge - 9 * way, y - 5), (edge - 9 * way, y + 5)], f"mark {row.css}"))
            continue
        parts.append(svg.line((x(row.value.low), y), (x(row.value.high), y), f"whisker {row.css}"))
        parts.append(svg.circle((x(row.value.value), y), 4.5, f"point {row.css}"))
    return Drawing(WIDTH, height, label, parts)


@dataclass(frozen=True, slots=True)
class Spot:
    """A method in a Pareto chart: its cost and its loss."""

    name: str
    css: str
    cost: Interval
    loss: Interval


def pareto(
    spots: Sequence[Spot], label: str, *, x_title: str, y_title: str, show_cost: Callable[[float], str], limit: float
) -> Drawing:
    """Draw loss over cost. Lower left is better; the dashed line joins the methods that no other one beats."""
    left, right, top, bottom, height = 58, 20, 24, 44, 320
    near = [one.loss for one in spots if one.loss.value <= LARGEST_LOSS]
    ends = [end for one in near for end in (one.low, one.high)] + [0.0, limit * 1.2]
    y = scale_around(min(ends), max(ends), height - bottom, top)
    highest = max(one.cost.high for one in spots)
    x = svg.linear(highest, left, WIDTH - right)
    parts: list[str] = []
    for tick in y.ticks():
        parts.append(svg.line((left, y(tick)), (WIDTH - right, y(tick)), "grid"))
        parts.append(svg.text((left - 6, y(tick) + 4), f"{100 * tick:+g}%" if tick else "0", "small", anchor="end"))
    below = height - bottom + 16
    parts += [svg.text((x(tick), below), show_cost(tick), "small", anchor="middle") for tick in x.ticks()]
    parts.append(svg.text((WIDTH - right, height - 8), x_title, "small", anchor="end"))
    parts.append(svg.text((4, 10), y_title, "small"))
    parts.append(svg.line((left, height - bottom), (WIDTH - right, height - bottom), "axis"))
    parts.append(svg.line((left, y(limit)), (WIDTH - right, y(limit)), "limit"))
    places = [(x(one.cost.value), y(one.loss.value)) for one in spots]
    front = pareto_front([(one.cost.value, one.loss.value) for one in spots])
    parts.append(svg.polyline([places[index] for index in front], "front"))
    labels = spread_labels(places)
    for one, (at_x, at_y), label_y in zip(spots, places, labels, strict=True):
        parts += _spot(one, (at_x, at_y), x, y)
        name = one.name if one.loss.value <= LARGEST_LOSS else f"{one.name} {one.loss.value:+.0%} ↑"
        is_right = at_x + 9 + CHARACTER * len(name) > WIDTH
        at = (at_x + (-9 if is_right else 9), label_y + 4)
        parts.append(svg.text(at, name, f"small strong halo fill {one.css}", anchor="end" if is_right else "start"))
    return Drawing(WIDTH, height, label, parts)


def _spot(one: Spot, at: svg.Point, x: svg.Scale, y: svg.Scale) -> list[str]:
    at_x, at_y = at
    if one.loss.value > LARGEST_LOSS:
        return [svg.polygon([(at_x, at_y - 6), (at_x - 5, at_y + 4), (at_x + 5, at_y + 4)], f"mark {one.css}")]
    whiskers = [svg.line((at_x, y(one.loss.low)), (at_x, y(one.loss.high)), f"whisker {one.css}")]
    if one.cost.low < one.cost.high:
        whiskers.append(svg.line((x(one.cost.low), at_y), (x(one.cost.high), at_y), f"whisker {one.css}"))
    return [*whiskers, svg.circle(at, 5, f"point {one.css}")]


def layer_errors(methods: Sequence[tuple[str, str, Sequence[tuple[str, float]]]], label: str) -> Drawing:
    """Draw each method's relative error by layer, in the model's order; (name, css, layers)."""
    left, right, top, bottom, height = 58, 20, 12, 44, 280
    names = list(dict.fromkeys(name for _, _, layers in methods for name, _ in layers))
    values = [error for _, _, layers in methods for _, error in layers if error > 0]
    y = svg.logarithmic(values, height - bottom, top, floor=1e-9)
    x = svg.Scale(0.0, max(len(names) - 1, 1), left, WIDTH - right)
    parts: list[str] = []
    for tick in y.ticks():
        parts.append(svg.line((left, y(tick)), (WIDTH - right, y(tick)), "grid"))
        parts.append(svg.text((left - 6, y(tick) + 4), f"{tick:.0e}" if tick < 1e-3 else f"{tick:g}", "small", "end"))
    for place, block in _blocks(names):
        parts.append(svg.text((x(place), height - bottom + 16), block, "small"))
        parts.append(svg.line((x(place), height - bottom), (x(place), height - bottom + 5), "axis"))
    parts.append(svg.text((WIDTH - right, height - 8), "block, its layers in order", "small", anchor="end"))
    parts.append(svg.line((left, height - bottom), (WIDTH - right, height - bottom), "axis"))
    place_of = {name: place for place, name in enumerate(names)}
    for _, css, layers in methods:
        known = [(x(place_of[name]), y(max(error, y.low))) for name, error in layers]
        parts.append(svg.polyline(known, f"thin {css}"))
    return Drawing(WIDTH, height, label, parts)


def _blocks(names: Sequence[str]) -> list[tuple[int, str]]:
    """Return where each block begins and its number; about a dozen at most."""
    found: dict[str, int] = {}
    for place, name in enumerate(names):
        if number := re.search(r"\.(\d+)\.", name):
            found.setdefault(number[1], place)
    every = -(-len(found) // 12) or 1
    return [(place, block) for block, place in list(found.items())[::every]]


def scale_around(low: float, high: float, start: float, end: float) -> svg.Scale:
    """Return a linear scale that holds both values, with a little room at each end."""
    room = max(high - low, 1e-6) * 0.06
    return svg.Scale(low - room, high + room, start, end)


def spread_labels(points: Sequence[svg.Point], *, near: float = 80.0, gap: float = 14.0) -> list[float]:
    """Return heights of labels at the points: where two would overlap, the higher one moves further up."""
    heights = {index: at[1] for index, at in enumerate(points)}
    placed: list[int] = []
    for index in sorted(heights, key=lambda index: -points[index][1]):
        others = [other for other in placed if abs(points[other][0] - points[index][0]) < near]
        for other in sorted(others, key=lambda other: -heights[other]):
            if abs(heights[other] - heights[index]) < gap:
                heights[index] = heights[other] - gap
        placed.append(index)
    return [heights[index] for index in range(len(points))]


def _x_axis(x: svg.Scale, bottom: float, show: Callable[[float], str]) -> list[str]:
    parts = []
    for tick in x.ticks()[:: 2 if len(x.ticks()) > 4 else 1]:
        parts.append(svg.line((x(tick), 6), (x(tick), bottom), "grid"))
        parts.append(svg.text((x(tick), bottom + 16), show(tick), "small", anchor="middle"))
    return parts
