"""The one sentence at the top of a report."""

from __future__ import annotations

from collections.abc import Sequence

from llm_bench.measure.summary import ALL
from llm_bench.results.result import Result
from llm_report import units


def headline(results: Sequence[Result]) -> str:
    """Say what happened to the class with the tightest SLO; where nothing completed, say that instead."""
    failures = [failure for result in results if (failure := nothing_completed(result))]
    if failures:
        return " ".join(f"{failure}." for failure in failures)
    first, last = results[0], results[-1]
    name = min(first.scenario.classes, key=lambda name: first.scenario.classes[name].slo.ttft or float("inf"))
    figures = last.summary.classes.get(name)
    if figures is None or figures.ttft.p99 is None:
        count = figures.requests if figures else 0
        return f"None of the {count} {name} requests of {last.run.name} completed."
    now, before = figures.ttft.p99, first.summary.classes[name].ttft.p99
    if len(results) == 1:
        return f"99% of {name} requests had their first token within {units.seconds(now)}."
    if before is None:
        return f"P99 time to first token of {name} requests: {units.seconds(now)} with {last.run.name}."
    return (
        f"{name.capitalize()} requests have their first token {times(now / before)} at P99 with {last.run.name} than "
        f"with {first.run.name}: {units.seconds(now)} against {units.seconds(before)}."
    )


def nothing_completed(result: Result) -> str | None:
    """Return `No request of NAME completed: 10 sent (10 http_500)`, or None if any did."""
    every = result.summary.classes[ALL]
    if every.completed:
        return None
    if not every.requests:
        return f"No request of {result.run.name} was sent"
    kinds = ", ".join(f"{count} {kind}" for kind, count in result.summary.errors.items())
    return f"No request of {result.run.name} completed: {every.requests} sent ({kinds})"


def times(ratio: float) -> str:
    """Return `18× sooner`, `1.7× later`."""
    if 0.99 < ratio < 1.01:
        return "no sooner"
    factor, way = (ratio, "later") if ratio > 1 else (1 / ratio, "sooner")
    return f"{factor:.0f}× {way}" if factor >= 10 else f"{factor:.1f}× {way}"
