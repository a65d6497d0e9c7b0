"""A panel, its queries, and how a viewer's filters get into them.

An expression is PromQL with placeholders. `expand` fills them in from a `Choice`:

    $engines      label matchers of the filters that apply to a series of an engine; each scope of SCOPES has one
    $by_engines   labels that the viewer groups by, of the same scope
    $window       the range of rates
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Filter = Literal["model", "engine", "class", "tenant"]
FILTERS: tuple[Filter, ...] = ("model", "engine", "class", "tenant")
Unit = Literal["count", "seconds", "share", "per_second", "bytes", "watts", "celsius", "hertz"]
Kind = Literal["lines", "area", "percentiles", "stat", "blocks"]

SCOPES: Mapping[str, Mapping[Filter, str]] = {
    "engines": {"model": "model_name", "engine": "instance"},
    "caches": {"engine": "instance"},
    "classes": {"class": "class"},
    "slots": {"engine": "engine"},
    "tenants": {"tenant": "tenant"},
    "models": {"model": "model"},
    "replicas": {"model": "model", "engine": "engine"},
}
"""By scope, the label that each filter matches. What the scopes are: series of an engine, of an engine without a
model's name, of the gateway's classes, of its engines and of its tenants, of the router's models and of its engines."""

_PLACEHOLDER = re.compile(r"\$(by_)?([a-z]+)")
_EMPTY_PLACES = re.compile(r",\s*(?=[)}])|(?<=[({])\s*,\s*")
_QUOTED = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """One expression of a panel."""

    expression: str
    name: str = ""
    """Name in the legend, ahead of the labels that differ between the series."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """A chart, a figure or a map."""

    key: str
    """Unique within its board; part of shared addresses."""
    title: str
    queries: tuple[Query, ...]
    unit: Unit
    shows: str
    """Explanation in one or two sentences."""
    source: str
    """Where the number comes from."""
    cannot: str = ""
    """Limits of the number: things it cannot know."""
    kind: Kind = "lines"
    needs: str = ""
    """Feature without which no target exports the metrics; the panel is then hidden."""
    limit: float | None = None
    """Value that must not be reached, drawn as a line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """Panels under one heading."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """A page of the dashboard."""

    key: str
    title: str
    sections: tuple[Section, ...] = ()
    filters: tuple[Filter, ...] = ()

    @property
    def panels(self) -> tuple[Panel, ...]:
        return tuple(panel for section in self.sections for panel in section.panels)


@dataclass(frozen=True, slots=True)
class Choice:
    """A viewer's choice: values by filter, the label to group by, and the window of rates."""

    filters: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    by: str = ""
    window: float = 10.0
    """Seconds."""


def expand(expression: str, choice: Choice) -> str:
    """Return PromQL: the expression with the viewer's filters, grouping and window in it."""

    def value(match: re.Match[str]) -> str:
        is_grouping, name = match.groups()
        if name == "window":
            return f"{round(choice.window * 1000)}ms"
        labels = SCOPES[name]
        if is_grouping:
            return next((label for key, label in labels.items() if key == choice.by), "")
        return ",".join(_matcher(label, choice.filters.get(key, ())) for key, label in labels.items())

    return _tidy(_PLACEHOLDER.sub(value, expression))


def template(expression: str, by: Filter | Literal[""], window: str) -> str:
    """Return the expression with variables in place of the filters: `model_name=~"$model"`, as Grafana reads them."""

    def value(match: re.Match[str]) -> str:
        is_grouping, name = match.groups()
        if name == "window":
            return window
        labels = SCOPES[name]
        if is_grouping:
            return next((label for key, label in labels.items() if key == by), "")
        return ",".join(f'{label}=~"${key}"' for key, label in labels.items())

    return _tidy(_PLACEHOLDER.sub(value, expression))


def _matcher(label: str, values: tuple[str, ...]) -> str:
    if not values:
        return ""
    if len(values) == 1:
        return f'{label}="{values[0].translate(_QUOTED)}"'
    pattern = "|".join(re.escape(value) for value in values)
    return f'{label}=~"{pattern.translate(_QUOTED)}"'


def _tidy(expression: str) -> str:
    """Remove the commas around placeholders that became empty, then the braces that hold nothing."""
    while (shorter := _EMPTY_PLACES.sub("", expression)) != expression:
        expression = shorter
    return expression.replace("{}", "").replace(" by ()", "").replace("  ", " ")
