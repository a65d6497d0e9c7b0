"""The report: one self-contained HTML page. Its template is page.html (Jinja2), with the style sheet included."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib import resources
from typing import Any

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup

from llm_gateway.sla.report import charts, series
from llm_gateway.sla.summary import ClassSummary, SlaSummary
from llm_gateway.sla.window import Window
from llm_report import units
from llm_report.theme import style_sheet

OBJECTIVE = 0.99
"""A class keeps its promise if at least this part of its requests met their targets."""

SHOWN_SECONDS = (300.0, 900.0, 3600.0, 21600.0, 86400.0)
HUES = 6
SHOWN_TENANTS = 50


def render_page(window: Window, summary: SlaSummary) -> str:
    """Return the report as HTML."""
    span = shown_span(window)
    classes = [cls for cls in summary.classes if cls.figures.requests]
    hues = {cls.name: f"hue{place % HUES}" for place, cls in enumerate(summary.classes)}
    over_time = {cls.name: series.class_series(window, cls.name, span) for cls in classes}
    return _template().render(
        summary=summary,
        length=window.end - window.start,
        slice_seconds=span.seconds / series.SLICES,
        headline=headline(summary.classes, window.end - window.start),
        classes=classes,
        hues=hues,
        objective=OBJECTIVE,
        tenants=summary.tenants[:SHOWN_TENANTS],
        tenants_left_out=summary.tenants_left_out + max(len(summary.tenants) - SHOWN_TENANTS, 0),
        pictures=_pictures(window, classes, hues, over_time, span=span) if classes else {},
    )


def shown_span(window: Window) -> series.Span:
    """Return the time span of the charts: the window, or less if the records begin later, as after a start."""
    length = window.end - window.start
    shown = min(length, next((span for span in SHOWN_SECONDS if span >= window.seconds), length))
    return series.Span(window.end - shown, window.end)


def headline(classes: Sequence[ClassSummary], length: float) -> str:
    """Return one sentence that says whether the promises were kept."""
    counted = [(cls.name, cls.figures.attainment) for cls in classes]
    known = [(name, attainment) for name, attainment in counted if attainment is not None]
    broken = [(name, attainment) for name, attainment in known if attainment < OBJECTIVE]
    when = f"in the last {units.span(length)}"
    if not known:
        return f"No request {when} counts towards a promise."
    if not broken:
        name, attainment = known[0]
        return f"Every promise was kept {when}: {units.share(attainment)} of {name} requests were on time."
    shares = _and([f"{units.share(attainment)} of {name}" for name, attainment in broken])
    subject = "One promise was" if len(broken) == 1 else f"{len(broken)} promises were"
    return f"{subject} not kept {when}: {shares} requests were on time; the objective is {OBJECTIVE:.0%}."


def _pictures(
    window: Window,
    classes: Sequence[ClassSummary],
    hues: dict[str, str],
    over_time: dict[str, series.ClassSeries],
    *,
    span: series.Span,
) -> dict[str, Any]:
    """Draw all charts. `llm_report.svg` has escaped the text in them."""
    first_token = {
        cls.name: Markup(charts.first_token(span, cls, hues[cls.name], over_time[cls.name])) for cls in classes
    }
    return {
        "attainment": Markup(charts.attainment(span, hues, over_time, OBJECTIVE)),
        "outcomes": Markup(charts.outcomes(span, series.outcomes(window, span))),
        "first_token": first_token,
        "queue_wait": Markup(charts.queue_wait(classes, hues)),
        "verdicts": Markup(charts.verdicts(classes)),
    }


def _and(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


@cache
def _template() -> Template:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    for name in ("seconds", "duration", "share", "count", "rate", "span", "date"):
        environment.filters[name] = getattr(units, name)
    environment.globals["style_sheet"] = Markup(style_sheet())
    return environment.from_string(resources.files("llm_gateway.sla.report").joinpath("page.html").read_text("utf-8"))
