"""The report's pictures. Each function draws one panel; the page lays panels out in grids.

Hue distinguishes classes everywhere. Where runs share a panel, the first run is grey and later runs have the
class's hue; the caption says which is which.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from llm_bench.measure.record import NOT_SENT, OK, RequestRecord
from llm_bench.measure.stats import Distribution
from llm_bench.results.result import Result
from llm_report import svg
from llm_report.svg import Frame
from llm_report.units import duration, seconds, share

CURVE_POINTS = 240
"""A curve with more samples than this is drawn through this many of its quantiles."""
OPEN_WHISKER = 26
"""Drawing units of a whisker that has no end."""


WIDE = Frame(480, 300)
NARROW = Frame(360, 250)


@dataclass(frozen=True, slots=True)
class CumulativeCurve:
    samples: list[float]
    css: str
    total: int
    """Number of requests: the curve ends at samples / total, below 100% if some had no answer."""


def hue(result: Result, class_name: str) -> str:
    """Return the CSS class of a class's colour, by its place in the scenario."""
    return f"hue{list(result.scenario.classes).index(class_name) % 6}"


def timeline(result: Result, scale_values: Sequence[float], span: float) -> str:
    """Draw every request of a run: when it was due, and its time to first token."""
    frame = WIDE
    x = svg.Scale(0.0, span, frame.left, frame.x_end)
    y = svg.logarithmic(scale_values, frame.y_end, frame.top)
    parts, labels = _axes(frame, x, y, "scheduled at"), []
    for name, kind in result.scenario.classes.items():
        if kind.slo.ttft is not None and y.low < kind.slo.ttft < y.high:
            level = y(kind.slo.ttft)
            parts.append(svg.line((frame.left, level), (frame.x_end, level), css=f"slo {hue(result, name)}"))
            label = f"{name} SLO {seconds(kind.slo.ttft)}"
            labels.append(
                svg.text((frame.x_end - 2, level - 4), label, f"small halo fill {hue(result, name)}", anchor="end")
            )
    for rows in _slices(result):
        css = hue(result, rows[0].class_name)
        due = [(row, x(row.scheduled_at)) for row in rows if row.scheduled_at is not None]
        answered = [(at, y(row.ttft)) for row, at in due if row.outcome == OK and row.ttft is not None]
        failed = [(at, float(frame.top + 4)) for row, at in due if row.outcome not in (OK, NOT_SENT)]
        parts += [svg.dots(answered, f"dots {css}"), svg.crosses(failed, f"cross {css}")]
    label = f"Time to first token of every request of {result.run.name} over its scheduled time, by class"
    return svg.document(frame.width, frame.height, label, parts + labels)


def _slices(result: Result) -> list[list[RequestRecord]]:
    """Return the requests in small groups of one class, alternating, so that no class always lies on top."""
    groups: dict[tuple[int, str], list[RequestRecord]] = {}
    for record in result.requests:
        groups.setdefault((record.index // 12, record.class_name), []).append(record)
    return list(groups.values())


def cumulative(curves: Sequence[CumulativeCurve], slo: float | None, label: str, scale_values: Sequence[float]) -> str:
    """Draw the share of requests that were served within a time, over a logarithmic time axis."""
    frame = NARROW
    x = svg.logarithmic(scale_values, frame.left, frame.x_end)
    y = svg.Scale(0.0, 1.0, frame.y_end, frame.top + 10)
    parts = _axes(frame, x, y, "", x_log=True, y_format="share")
    if slo is not None and x.low < slo < x.high:
        parts.append(svg.line((x(slo), frame.top + 2), (x(slo), frame.y_end), css="slo ink"))
        parts.append(svg.text((x(slo), frame.top - 3), f"SLO {seconds(slo)}", "small fill ink", anchor="middle"))
    elif slo is not None:
        beyond = f"SLO {seconds(slo)} →" if slo >= x.high else f"← SLO {seconds(slo)}"
        parts.append(svg.text((frame.x_end, frame.top - 3), beyond, "small fill ink", anchor="end"))
    drawn = [curve for curve in curves if curve.samples]
    for curve in drawn:
        parts.append(svg.polyline(_steps(curve, x, y), f"curve {curve.css}"))
    return svg.document(frame.width, frame.height, label, parts)


def queue(result: Result, peak: float, span: float) -> str:
    """Draw the requests that were due and had no first token yet, stacked by class: the queue as users see it."""
    frame = WIDE
    x = svg.Scale(0.0, span, frame.left, frame.x_end)
    y = svg.linear(peak, frame.y_end, frame.top)
    parts = _axes(frame, x, y, "time", y_format="count")
    grid = queue_grid(span)
    floor = np.zeros(len(grid))
    labels: list[_AreaLabel] = []
    for name in result.scenario.classes:
        top = floor + waiting(result.requests, name, grid)
        outline = [(x(t), y(v)) for t, v in zip(grid, top, strict=True)]
        base = [(x(t), y(v)) for t, v in zip(grid[::-1], floor[::-1], strict=True)]
        parts.append(svg.polygon(outline + base, f"area {hue(result, name)}"))
        at = int((top - floor).argmax())
        height = y(floor[at]) - y(top[at])
        place = min(max(x(grid[at]), frame.left + 34), frame.x_end - 34)
        labels.append(_AreaLabel(name, height, place, (y(floor[at]) + y(top[at])) / 2 + 4))
        floor = top
    label = f"Requests of {result.run.name} that wait for their first token, over time, stacked by class"
    return svg.document(frame.width, frame.height, label, [*parts, *_draw_labels(labels)])


@dataclass(frozen=True, slots=True)
class _AreaLabel:
    name: str
    height: float
    """Height of the area where it is thickest."""
    x: float
    y: float

    def meets(self, other: _AreaLabel) -> bool:
        return abs(self.y - other.y) < 15 and abs(self.x - other.x) < 3.6 * (len(self.name) + len(other.name))


def _draw_labels(labels: Sequence[_AreaLabel]) -> list[str]:
    """Draw labels in areas that are thick enough, the thickest first; leave out those that would overlap."""
    drawn: list[_AreaLabel] = []
    for label in sorted(labels, key=lambda label: -label.height):
        if label.height > 16 and not any(label.meets(other) for other in drawn):
            drawn.append(label)
    return [svg.text((label.x, label.y), label.name, "small halo strong", anchor="middle") for label in drawn]


def queue_grid(span: float) -> np.ndarray:
    return np.linspace(0.0, span, 241)


def waiting(records: Sequence[RequestRecord], class_name: str | None, grid: np.ndarray) -> np.ndarray:
    """Return the number of requests (of a class) that are due and unanswered at each moment of `grid`."""
    rows = [row for row in records if row.sent_at is not None and class_name in (None, row.class_name)]
    due = np.sort([row.scheduled_at or 0.0 for row in rows])
    gone = np.sort([_answered_at(row) for row in rows])
    return np.asarray(np.searchsorted(due, grid, "right") - np.searchsorted(gone, grid, "right"), dtype=float)


def attainment(results: Sequence[Result]) -> str:
    """Draw the share of requests within their SLO: one group of bars per class, one bar per run."""
    names = [name for name in results[0].scenario.classes if _attained(results[0], name) is not None]
    row, gap = 24, 20
    group = len(results) * row + gap + 16
    frame = Frame(480, max(len(names), 1) * group + 6)
    x = svg.Scale(0.0, 1.0, 110, frame.width - 56)
    parts: list[str] = []
    for place, name in enumerate(names):
        top = place * group + 16
        parts.append(svg.text((0, top), name, f"strong fill {hue(results[0], name)}"))
        for position, result in enumerate(results):
            value = _attained(result, name)
            y = top + 8 + position * row
            parts.append(svg.text((100, y + 14), result.run.name[:16], "small", anchor="end"))
            parts.append(svg.rectangle((x(0), y), x(1) - x(0), row - 6, css="track"))
            parts.append(
                svg.rectangle((x(0), y), x(value or 0) - x(0), row - 6, css=run_css(results, name, position, "bar"))
            )
            parts.append(svg.text((x(1) + 8, y + 14), share(value), "small strong"))
    return svg.document(frame.width, frame.height, "Share of requests within their SLO, by class and run", parts)


def tail(results: Sequence[Result]) -> str:
    """Draw the P99 time to first token with its 95% interval, for each class and run."""
    names = list(results[0].scenario.classes)
    row, gap = 24, 20
    group = len(results) * row + gap + 16
    frame = Frame(480, len(names) * group + 30)
    figures = [
        result.summary.classes[name].ttft for result in results for name in names if name in result.summary.classes
    ]
    known = [value for one in figures for value in (one.p99, *one.intervals.get("p99", ())) if value is not None]
    x = svg.logarithmic(known, 110, frame.width - 64 - OPEN_WHISKER)
    parts: list[str] = []
    for tick in x.ticks():
        parts.append(svg.line((x(tick), 4), (x(tick), frame.height - 24), css="grid"))
        parts.append(svg.text((x(tick), frame.height - 8), duration(tick), "small", anchor="middle"))
    for place, name in enumerate(names):
        top = place * group + 16
        parts.append(svg.text((0, top), name, f"strong fill {hue(results[0], name)}"))
        for position, result in enumerate(results):
            if name in result.summary.classes:
                css = run_css(results, name, position, "mark")
                y = top + 17.0 + position * row
                parts.append(svg.text((100, y + 5), result.run.name[:16], "small", anchor="end"))
                parts += _interval(result.summary.classes[name].ttft, x, y, css, frame=frame)
    label = "P99 time to first token by class and run, with 95% intervals"
    return svg.document(frame.width, frame.height, label, parts)


def _interval(figures: Distribution, x: svg.Scale, y: float, css: str, *, frame: Frame) -> list[str]:
    """Draw a dot, whiskers and the value; a dotted whisker where the sample does not bound the interval."""
    if figures.p99 is None:
        return [svg.text((x(x.low), y + 5), "no sample", "small")]
    at, parts = x(figures.p99), []
    for bound, side in zip(figures.intervals["p99"], (-1, 1), strict=True):
        end = at + side * OPEN_WHISKER if bound is None else x(bound)
        parts.append(svg.line((at, y), (end, y), css=f"whisker {css} {'open' if bound is None else ''}"))
    parts.append(svg.circle((at, y), 5, css))
    return [*parts, svg.text((frame.width - 58, y + 5), seconds(figures.p99), "small strong")]


def _axes(
    frame: Frame,
    x: svg.Scale,
    y: svg.Scale,
    x_label: str,
    *,
    x_log: bool = False,
    y_format: str = "seconds",
) -> list[str]:
    formats: dict[str, Callable[[float], str]] = {
        "seconds": duration,
        "share": "{:.0%}".format,
        "count": "{:g}".format,
    }
    parts = []
    for tick in [0.0, 0.25, 0.5, 0.75, 1.0] if y_format == "share" else y.ticks():
        parts.append(svg.line((frame.left, y(tick)), (frame.x_end, y(tick)), css="grid"))
        parts.append(svg.text((frame.left - 6, y(tick) + 4), formats[y_format](tick), "small", anchor="end"))
    for tick in x.ticks():
        if x_log:
            parts.append(svg.line((x(tick), frame.top), (x(tick), frame.y_end), css="grid"))
        parts.append(svg.text((x(tick), frame.y_end + 18), formats["seconds"](tick), "small", anchor="middle"))
    parts.append(svg.line((frame.left, frame.y_end), (frame.x_end, frame.y_end), css="axis"))
    if x_label:
        parts.append(svg.text((frame.left, frame.height - 1), x_label, "small faint"))
    return parts


def _steps(curve: CumulativeCurve, x: svg.Scale, y: svg.Scale) -> list[svg.Point]:
    """Return the empirical distribution as a staircase, from the axis up to the share that was answered."""
    ordered = np.sort(curve.samples)
    if len(ordered) > CURVE_POINTS:
        ordered = np.quantile(ordered, np.linspace(0, 1, CURVE_POINTS))
    top = len(curve.samples) / curve.total
    points = [(x(float(ordered[0])), y(0.0))]
    for position, value in enumerate(ordered):
        points.append((x(float(value)), points[-1][1]))
        points.append((x(float(value)), y(top * (position + 1) / len(ordered))))
    return points


def run_css(results: Sequence[Result], class_name: str, position: int, kind: str) -> str:
    """Return grey for the first of several runs, the class's hue for the others, with dashes from the third on."""
    if position == 0 and len(results) > 1:
        return f"{kind} base"
    return f"{kind} {hue(results[0], class_name)} run{position}"


def _attained(result: Result, name: str) -> float | None:
    return result.summary.classes[name].slo_attainment if name in result.summary.classes else None


def _answered_at(row: RequestRecord) -> float:
    at = row.first_token_at if row.first_token_at is not None else row.ended_at
    return float("inf") if at is None else at
