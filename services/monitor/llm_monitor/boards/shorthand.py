"""The few forms of PromQL that most panels have."""

from __future__ import annotations

from llm_monitor.boards.panel import Query

PERCENTILES = ((0.5, "P50"), (0.95, "P95"), (0.99, "P99"))


def total(metric: str, scope: str) -> str:
    """Return the sum of a gauge over the viewer's groups."""
    return f"sum by ($by_{scope}) ({metric}{{${scope}}})"


def rate(metric: str, scope: str, *, matchers: str = "", by: str = "") -> str:
    """Return a counter's rate a second, summed over the viewer's groups and the labels `by`."""
    grouping = ", ".join(filter(None, (by, f"$by_{scope}")))
    selector = ", ".join(filter(None, (f"${scope}", matchers)))
    return f"sum by ({grouping}) (rate({metric}{{{selector}}}[$window]))"


def share(part: str, whole: str) -> str:
    """Return the part of two rates, nothing where the whole is 0."""
    return f"{part} / ({whole} > 0)"


def quantile(fraction: float, histogram: str, scope: str) -> str:
    """Return a quantile of a histogram within the window; only requests of the window count."""
    return f"histogram_quantile({fraction:g}, {rate(f'{histogram}_bucket', scope, by='le')})"


def percentiles(histogram: str, scope: str) -> tuple[Query, ...]:
    return tuple(Query(name=name, expression=quantile(value, histogram, scope)) for value, name in PERCENTILES)


def mean(histogram: str, scope: str) -> str:
    """Return a histogram's mean within the window."""
    return share(rate(f"{histogram}_sum", scope), rate(f"{histogram}_count", scope))


def mean_of_all(histogram: str, scope: str) -> str:
    """Return the mean over all series, whatever the viewer groups by: means of groups do not add up."""
    return share(*(f"sum(rate({histogram}_{part}{{${scope}}}[$window]))" for part in ("sum", "count")))
