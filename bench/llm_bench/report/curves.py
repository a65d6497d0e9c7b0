"""The page of a sweep: how latency grows with load, where the SLOs break, and the throughput at each rate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from llm_bench.analyse.repetitions import Estimate, mean_interval
from llm_bench.measure.summary import ALL, ClassFigures
from llm_bench.report.charts import NARROW, WIDE, hue
from llm_bench.report.template import fill_template
from llm_bench.report.write import write_file
from llm_bench.results.result import Result
from llm_report import svg
from llm_report.svg import Frame
from llm_report.units import duration

GOAL = 0.99
"""SLO attainment above which a rate counts as held, in the headline."""

_TICKS: dict[str, Callable[[float], str]] = {"seconds": duration, "share": "{:.0%}".format, "count": "{:g}".format}

Read = Callable[[ClassFigures], float | None]


@dataclass(frozen=True, slots=True)
class RatePoint:
    """One rate and the estimate over its runs."""

    x: float
    y: Estimate
    rate: float


@dataclass(frozen=True, slots=True)
class RateCurve:
    name: str
    css: str
    points: list[RatePoint]


def write_curves(results: Sequence[Result], path: Path, *, title: str) -> None:
    write_file(path, render_curves(results, title).encode())


def render_curves(results: Sequence[Result], title: str) -> str:
    rates = by_rate(results)
    classes = list(results[0].scenario.classes)
    return fill_template(
        "curves.html",
        title=title,
        headline=headline(rates),
        first=results[0],
        rates=rates,
        classes=classes,
        repeats=max(len(runs) for runs in rates.values()),
        charts=[
            ("P99 time to first token over the rate", _over_rate(results, rates, lambda c: c.ttft.p99, "seconds")),
            ("Median time per output token over the rate", _over_rate(results, rates, lambda c: c.tpot.p50, "seconds")),
            ("SLO met over the rate", _over_rate(results, rates, lambda c: c.slo_attainment, "share")),
        ],
        throughput=Markup(_throughput_latency(rates)),
        goodput=Markup(_goodput(rates)),
        hues={name: hue(results[0], name) for name in classes},
    )


def by_rate(results: Sequence[Result]) -> dict[float, list[Result]]:
    """Group the runs by offered rate, in ascending order."""
    rates: dict[float, list[Result]] = {}
    for result in sorted(results, key=lambda result: result.scenario.rate or 0.0):
        rates.setdefault(round(result.scenario.rate or 0.0, 6), []).append(result)
    return rates


def headline(rates: dict[float, list[Result]]) -> str:
    """Say up to which rate the SLOs hold, or how latency grew where there are none."""
    if not any(run.summary.classes[ALL].completed for runs in rates.values() for run in runs):
        return "No request completed at any rate."
    held = [rate for rate, runs in rates.items() if _holds(runs)]
    if any(runs[0].summary.classes[ALL].slo_attainment is not None for runs in rates.values()):
        if not held:
            return f"No rate meets the SLOs of {GOAL:.0%} of requests: {min(rates):.3g} per second is too high."
        above = [rate for rate in rates if rate > max(held)]
        broken = f"; at {min(above):.3g} they break" if above else "; no higher one was tried"
        return f"The SLOs of {GOAL:.0%} of requests are met up to {max(held):.3g} requests per second{broken}."
    first, last = rates[min(rates)][0], rates[max(rates)][0]
    low, high = first.summary.classes[ALL].ttft.p99, last.summary.classes[ALL].ttft.p99
    growth = f" P99 time to first token grows {high / low:.1f}-fold." if low and high else ""
    return f"From {min(rates):.3g} to {max(rates):.3g} requests per second.{growth}"


def _holds(runs: Sequence[Result]) -> bool:
    shares = [run.summary.classes[name].slo_attainment for run in runs for name in run.scenario.classes]
    return all(share is not None and share >= GOAL for share in shares if share is not None)


def _estimate(runs: Sequence[Result], name: str, read: Read) -> Estimate | None:
    values = [value for run in runs if (value := read(run.summary.classes[name])) is not None]
    return mean_interval(values) if values else None


def _over_rate(results: Sequence[Result], rates: dict[float, list[Result]], read: Read, unit: str) -> Markup:
    curves = []
    for name in results[0].scenario.classes:
        found = [(rate, _estimate(runs, name, read)) for rate, runs in rates.items()]
        points = [RatePoint(rate, estimate, rate) for rate, estimate in found if estimate is not None]
        curves.append(RateCurve(name, hue(results[0], name), points))
    return Markup(_draw([curve for curve in curves if curve.points], NARROW, "requests per second", unit))


def _throughput_latency(rates: dict[float, list[Result]]) -> str:
    """Draw output tokens per second against P99 and median TTFT; each point is a rate."""
    curves = []
    for label, css, read in (
        ("P99", "hue0", lambda c: c.ttft.p99),
        ("median", "hue5", lambda c: c.ttft.p50),
    ):
        points = []
        for rate, runs in rates.items():
            x = _estimate(runs, ALL, lambda c: c.output_tokens_per_second)
            y = _estimate(runs, ALL, read)
            if x is not None and y is not None:
                points.append(RatePoint(x.value, y, rate))
        curves.append(RateCurve(label, css, points))
    drawn = [curve for curve in curves if curve.points]
    return _draw(drawn, WIDE, "output tokens per second", "seconds", rates_shown=True)


def _goodput(rates: dict[float, list[Result]]) -> str:
    """Draw goodput over the offered rate; the grey line is goodput if every request met its SLO."""
    points = [
        RatePoint(rate, one, rate) for rate, runs in rates.items() if (one := _estimate(runs, ALL, lambda c: c.goodput))
    ]
    asked = [RatePoint(rate, Estimate(_offered(runs), None, None, 1), rate) for rate, runs in rates.items()]
    curves = [RateCurve("asked", "hue5", asked), RateCurve("goodput", "hue3", points)]
    return _draw(curves, WIDE, "requests per second", "count")


def _offered(runs: Sequence[Result]) -> float:
    """Return the requests that were due per second of the run: goodput if all were served in time."""
    return sum(run.summary.classes[ALL].requests / run.summary.seconds for run in runs) / len(runs)


def _draw(curves: Sequence[RateCurve], frame: Frame, x_label: str, unit: str, *, rates_shown: bool = False) -> str:
    """Draw the curves. `unit` of y: `seconds` on a logarithmic axis, `share` from 0 to 1, or `count`."""
    points = [point for curve in curves for point in curve.points]
    x = svg.linear(max((point.x for point in points), default=1.0), frame.left, frame.x_end - 30)
    y = _height([point.y.value for point in points], frame, unit)
    parts = []
    for tick in [0.0, 0.25, 0.5, 0.75, 1.0] if unit == "share" else y.ticks():
        parts.append(svg.line((frame.left, y(tick)), (frame.x_end, y(tick)), css="grid"))
        parts.append(svg.text((frame.left - 6, y(tick) + 4), _TICKS[unit](tick), "small", anchor="end"))
    parts += [svg.text((x(tick), frame.y_end + 18), f"{tick:g}", "small", anchor="middle") for tick in x.ticks()]
    parts.append(svg.line((frame.left, frame.y_end), (frame.x_end, frame.y_end), css="axis"))
    parts.append(svg.text((frame.x_end, frame.height - 1), x_label, "small faint", anchor="end"))
    for curve in curves:
        parts += _curve(curve, x, y, rates_shown and curve is curves[0])
    parts += _names(curves, x, y)
    return svg.document(frame.width, frame.height, f"Over {x_label}, by {', '.join(c.name for c in curves)}", parts)


def _height(values: Sequence[float], frame: Frame, unit: str) -> svg.Scale:
    if unit == "seconds":
        return svg.logarithmic(values, frame.y_end, frame.top)
    return (
        svg.Scale(0, 1, frame.y_end, frame.top + 8)
        if unit == "share"
        else svg.linear(max(values, default=1.0), frame.y_end, frame.top)
    )


def _curve(curve: RateCurve, x: svg.Scale, y: svg.Scale, rates_shown: bool) -> list[str]:
    """Draw a line, its points, and whiskers where several runs give an interval."""
    parts = [svg.polyline([(x(point.x), y(point.y.value)) for point in curve.points], f"curve {curve.css}")]
    for point in curve.points:
        at = x(point.x)
        if point.y.low is not None and point.y.high is not None:
            parts.append(
                svg.line((at, y(max(point.y.low, y.low))), (at, y(point.y.high)), css=f"whisker fine {curve.css}")
            )
        parts.append(svg.circle((at, y(point.y.value)), 4, f"point {curve.css}"))
        if rates_shown:
            parts.append(svg.text((at - 7, y(point.y.value) - 7), f"{point.rate:.3g}/s", "small halo", anchor="end"))
    return parts


def _names(curves: Sequence[RateCurve], x: svg.Scale, y: svg.Scale) -> list[str]:
    """Draw each curve's name at its end, pushed apart where ends meet."""
    ends = sorted(((y(curve.points[-1].y.value), curve) for curve in curves), key=lambda end: end[0])
    labels, floor = [], -1e9
    for height, curve in ends:
        floor = max(height + 4, floor + 14)
        at = x(curve.points[-1].x) + 8
        labels.append(svg.text((at, floor), curve.name, f"small strong halo fill {curve.css}"))
    return labels
