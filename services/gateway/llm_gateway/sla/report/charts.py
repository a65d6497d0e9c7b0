"""The charts of the report. Each function draws one panel as SVG.

A class has the same hue in all charts, and verdicts have colours of their own. Times of day are UTC.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from llm_gateway.sla.record import SlaVerdict
from llm_gateway.sla.report.series import SLICES, ClassSeries, Span, Values
from llm_gateway.sla.summary import ClassSummary, Figures
from llm_report import svg, units
from llm_report.svg import Frame

SHOWN_VERDICTS = (SlaVerdict.MET, SlaVerdict.LATE, SlaVerdict.REJECTED, SlaVerdict.FAILED)
"""The verdicts of a stack, from bottom to top."""


WIDE = Frame(500, 250, left=52, right=12, top=14, bottom=26)
NARROW = Frame(330, 220, left=52, right=12, top=14, bottom=26)


def attainment(span: Span, hues: dict[str, str], series: dict[str, ClassSeries], objective: float) -> str:
    """Draw the share of requests on time over time, one line per class."""
    frame = WIDE
    known = [value for one in series.values() for value in one.attainment if value is not None]
    low = next(bound for bound in (0.9, 0.8, 0.6, 0.0) if bound <= min(known, default=0.0))
    x, y = _time(span, frame), svg.Scale(low, 1.0, frame.y_end, frame.top)
    parts = _time_axis(span, frame, x)
    for quarter in range(5):
        tick = low + quarter * (1 - low) / 4
        parts += _level(frame, y(tick), f"{100 * tick:g}%")
    parts.append(svg.line((frame.left, y(objective)), (frame.x_end, y(objective)), css="target ink"))
    parts += [svg.polyline(_points(span, x, y, one.attainment), f"curve {hues[name]}") for name, one in series.items()]
    return svg.document(frame.width, frame.height, "Share of requests on time over time, by class", parts)


def outcomes(span: Span, counts: Sequence[Sequence[int]]) -> str:
    """Draw the requests per slice, stacked by verdict."""
    frame = WIDE
    x = _time(span, frame)
    y = svg.linear(max(sum(slice_[verdict] for verdict in SHOWN_VERDICTS) for slice_ in counts), frame.y_end, frame.top)
    width = (frame.x_end - frame.left) / SLICES
    parts = _time_axis(span, frame, x)
    for tick in y.ticks():
        parts += _level(frame, y(tick), f"{tick:,g}")
    for place, slice_ in enumerate(counts):
        floor = 0
        for verdict in SHOWN_VERDICTS:
            top = floor + slice_[verdict]
            if top > floor:
                left = frame.left + place * width + 0.6
                parts.append(
                    svg.rectangle(
                        (left, y(top)), width - 1.2, height=y(floor) - y(top), css=f"bar {css_of(verdict)}", radius=0
                    )
                )
            floor = top
    return svg.document(frame.width, frame.height, "Requests over time, by verdict", parts)


def first_token(span: Span, cls: ClassSummary, hue: str, series: ClassSeries) -> str:
    """Draw P50 and P99 of a class's time to first token, with its target."""
    frame = NARROW
    target = cls.ttft_target
    drawn = [value for value in (*series.ttft_p50, *series.ttft_p99, target) if value is not None]
    x, y = _time(span, frame), svg.logarithmic(drawn, frame.y_end, frame.top)
    parts = _time_axis(span, frame, x, ticks=3)
    for tick in y.ticks():
        parts += _level(frame, y(tick), units.duration(tick))
    if target is not None:
        parts.append(svg.line((frame.left, y(target)), (frame.x_end, y(target)), css="target ink"))
    parts.append(svg.polyline(_points(span, x, y, series.ttft_p50), f"curve thin {hue}"))
    parts.append(svg.polyline(_points(span, x, y, series.ttft_p99), f"curve {hue}"))
    return svg.document(frame.width, frame.height, f"Time to first token of {cls.name} over time, P50 and P99", parts)


def queue_wait(classes: Sequence[ClassSummary], hues: dict[str, str]) -> str:
    """Draw P50, P99 and the longest wait in the queue, one row per class."""
    row, left, right = 46.0, 96.0, 470.0
    waits = {cls.name: _waits(cls.figures) for cls in classes}
    x = svg.logarithmic((wait for ones in waits.values() for wait in ones), left + 6, right - 6)
    height = row * len(classes) + 30
    parts = [svg.line((x(tick), 4), (x(tick), height - 24), css="grid") for tick in x.ticks()]
    parts += [svg.text((x(tick), height - 6), units.duration(tick), "small", anchor="middle") for tick in x.ticks()]
    for place, cls in enumerate(classes):
        y, hue = row * (place + 0.5) + 2, hues[cls.name]
        parts.append(svg.text((0, y + 4), _short(cls.name, 12), f"strong fill {hue}"))
        parts += _range([x(wait) for wait in waits[cls.name]], y, hue) or [svg.text((left + 6, y + 4), "none", "small")]
    return svg.document(500, height, "Wait in the queue by class: P50, P99 and the longest", parts)


def verdicts(classes: Sequence[ClassSummary]) -> str:
    """Draw the outcomes of each class's requests, as parts of all of them."""
    row, x = 46.0, svg.Scale(0.0, 1.0, 96, 410)
    parts = []
    for place, cls in enumerate(classes):
        y, figures = row * (place + 0.5) + 2, cls.figures
        parts.append(svg.text((0, y + 4), _short(cls.name, 12), "strong"))
        parts.append(svg.rectangle((x(0), y - 8), x(1) - x(0), height=16, css="track", radius=3))
        floor = 0
        for verdict, count in zip(SHOWN_VERDICTS, counts_of(figures), strict=True):
            begin, end = x(floor / (figures.requests or 1)), x((floor + count) / (figures.requests or 1))
            parts.append(
                svg.rectangle((begin, y - 8), end - begin, height=16, css=f"bar {css_of(verdict)}", radius=0)
                if count
                else ""
            )
            floor += count
        parts.append(svg.text((500, y + 4), units.count(figures.requests), "small", anchor="end"))
    return svg.document(500, row * len(classes) + 8, "Outcomes of requests, by class", parts)


def css_of(verdict: SlaVerdict) -> str:
    return f"is-{verdict.name.lower()}"


def counts_of(figures: Figures) -> tuple[int, int, int, int]:
    """Return the counts in the order of SHOWN_VERDICTS."""
    return figures.met, figures.late, figures.rejected, figures.failed


def _waits(figures: Figures) -> list[float]:
    """Return P50, P99 and the longest wait; [] if no request got a slot."""
    waits = (figures.queue_wait.p50, figures.queue_wait.p99, figures.longest_wait)
    return [wait for wait in waits if wait is not None]


def _range(places: Sequence[float], y: float, hue: str) -> Iterable[str]:
    if not places:
        return []
    p50, p99, longest = places
    return [
        svg.line((p50, y), (longest, y), css=f"reach {hue}"),
        svg.line((p50, y), (p99, y), css=f"range {hue}"),
        svg.circle((p50, y), 4.5, f"hollow {hue}"),
        svg.circle((p99, y), 5.5, f"mark {hue}"),
        svg.line((longest, y - 6), (longest, y + 6), css=f"end {hue}"),
    ]


def _time(span: Span, frame: Frame) -> svg.Scale:
    return svg.Scale(span.start, span.end, frame.left, frame.x_end)


def _time_axis(span: Span, frame: Frame, x: svg.Scale, ticks: int = 6) -> list[str]:
    step = _round_step((span.end - span.start) / ticks)
    first = (int(span.start // step) + 1) * step
    marks = [first + step * index for index in range(ticks * 2) if first + step * index <= span.end]
    labels = [
        svg.text((x(mark), frame.y_end + 18), units.clock(mark), "small", anchor="middle")
        for mark in marks
        if frame.left + 8 <= x(mark) <= frame.x_end - 8
    ]
    return [*labels, svg.line((frame.left, frame.y_end), (frame.x_end, frame.y_end), css="axis")]


def _round_step(rough: float) -> float:
    """Return the smallest step from `rough` up that divides the hour or the day, at least a minute."""
    steps = (60, 120, 300, 600, 900, 1200, 1800, 3600, 7200, 10800, 14400, 21600, 28800, 43200)
    return next((step for step in steps if step >= rough), 86400 * (rough // 86400 + 1))


def _level(frame: Frame, y: float, label: str) -> list[str]:
    return [
        svg.line((frame.left, y), (frame.x_end, y), css="grid"),
        svg.text((frame.left - 8, y + 4), label, "small", anchor="end"),
    ]


def _points(span: Span, x: svg.Scale, y: svg.Scale, values: Values) -> list[svg.Point | None]:
    return [None if value is None else (x(span.middle(place)), y(value)) for place, value in enumerate(values)]


def _short(name: str, length: int) -> str:
    return name if len(name) <= length else f"{name[: length - 1]}…"
