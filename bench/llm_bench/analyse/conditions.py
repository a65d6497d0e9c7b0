"""Conditions that fail a run in CI: `--fail-if 'ttft_p99 > 1.05x baseline'`.

    ttft_p99 > 1.05x baseline         the ratio to the baseline is above 1.05
    interactive.tpot_p50 > 40ms       against a fixed bound: s, ms, %, or a plain number
    slo_attainment < 99%

A ratio fails only if its whole 95% interval is beyond the limit: a check that trips on noise is soon switched off. A
ratio that is beyond the limit with an interval that is not is reported as undecided, and passes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from llm_bench.analyse.bootstrap import Statistic, Values, ratio_interval
from llm_bench.analyse.figures import Figure, parse_figure, read_figure
from llm_bench.analyse.repetitions import Estimate
from llm_bench.errors import ScenarioError
from llm_bench.measure.record import RequestRecord
from llm_bench.measure.summary import ALL, RunSummary
from llm_bench.results.result import Result

_CONDITION = re.compile(
    r"\s*(?P<figure>\S+)\s*(?P<side>[<>])\s*(?P<limit>\d+(\.\d+)?)\s*((?P<unit>ms|s|%)|(?P<relative>[x×]\s*baseline))?\s*"
)
_UNITS = {"ms": 1e-3, "s": 1.0, "%": 1e-2, None: 1.0}

Outcome = Literal["passed", "failed", "undecided"]


@dataclass(frozen=True, slots=True)
class Condition:
    text: str
    figure: Figure
    above: bool
    """Whether the condition fails above the limit; otherwise it fails below it."""
    limit: float
    relative: bool
    """Whether the limit is a multiple of the baseline's figure."""


@dataclass(frozen=True, slots=True)
class CheckedCondition:
    condition: str
    outcome: Outcome
    detail: str


def parse_condition(text: str) -> Condition:
    match = _CONDITION.fullmatch(text)
    if not match:
        raise ScenarioError(
            f"{text!r} is no condition: write it like 'ttft_p99 > 1.05x baseline', 'interactive.ttft_p99 > 500ms' or "
            "'slo_attainment < 99%'"
        )
    relative = match["relative"] is not None
    limit = float(match["limit"]) * (1.0 if relative else _UNITS[match["unit"]])
    return Condition(text.strip(), parse_figure(match["figure"]), match["side"] == ">", limit, relative)


def check_absolute(condition: Condition, summary: RunSummary) -> CheckedCondition:
    value = read_figure(summary, condition.figure)
    if value is None:
        return CheckedCondition(condition.text, "failed", "the run has no such value")
    beyond = value > condition.limit if condition.above else value < condition.limit
    return CheckedCondition(condition.text, "failed" if beyond else "passed", f"it is {value:.4g}")


def check_ratio(condition: Condition, ratio: Estimate | None) -> CheckedCondition:
    if ratio is None:
        return CheckedCondition(condition.text, "failed", "there is no ratio: a run has no such value, or it is 0")
    low, high = ratio.low or 0.0, float("inf") if ratio.high is None else ratio.high
    beyond = ratio.value > condition.limit if condition.above else ratio.value < condition.limit
    shown = low > condition.limit if condition.above else high < condition.limit
    outcome: Outcome = "failed" if shown else "undecided" if beyond else "passed"
    return CheckedCondition(
        condition.text, outcome, f"the ratio is {ratio.value:.3f}, 95% interval {low:.3f} to {high:.3f}"
    )


def check_pairs(condition: Condition, ratios: Mapping[str, Estimate], last: RunSummary) -> CheckedCondition:
    """Check a condition on a comparison's ratios; an absolute bound applies to `last`, the last run of B."""
    if not condition.relative:
        return check_absolute(condition, last)
    return check_ratio(condition, ratios.get(condition.figure.name))


def check_run(condition: Condition, result: Result, baseline: Result | None) -> CheckedCondition:
    """Check a condition on one run, against the baseline run if it is relative.

    Intervals come from resampled requests.
    """
    if not condition.relative:
        return check_absolute(condition, result.summary)
    if baseline is None:
        raise ScenarioError(f"{condition.text!r} needs --baseline DIR, the result to compare with")
    values, statistic = _per_request(condition.figure)
    a, b = values(baseline), values(result)
    if not len(a) or not len(b) or not statistic(a):
        return check_ratio(condition, None)
    return check_ratio(condition, ratio_interval(a, b, statistic, np.random.default_rng(0)))


def _per_request(figure: Figure) -> tuple[Callable[[Result], Values], Statistic]:
    """Return how to read the figure's values from single requests, and the statistic over them."""
    time, statistic = figure.split
    if time in ("ttft", "ttft_from_send", "tpot", "e2e"):
        return lambda result: _times(result, figure.class_name, time), _statistic(statistic)
    if figure.key == "slo_attainment":
        return lambda result: _met(result, figure.class_name), _statistic("mean")
    raise ScenarioError(
        f"{figure.name}: the ratio of two single runs is known for ttft, ttft_from_send, tpot, e2e and slo_attainment; "
        "for this one use `compare`"
    )


def _statistic(name: str) -> Statistic:
    if name == "mean":
        return lambda values: np.asarray(values.mean(axis=-1))
    return lambda values: np.asarray(np.percentile(values, float(name.removeprefix("p")), axis=-1))


def _times(result: Result, class_name: str, time: str) -> Values:
    found = (getattr(record, time) for record in _of_class(result, class_name) if record.ok)
    return np.array([value for value in found if value is not None])


def _met(result: Result, class_name: str) -> Values:
    slos = {name: kind.slo for name, kind in result.scenario.classes.items()}
    return np.array([float(record.meets(slos[record.class_name])) for record in _of_class(result, class_name)])


def _of_class(result: Result, class_name: str) -> list[RequestRecord]:
    return [
        record for record in result.requests if class_name in (ALL, record.class_name) and record.sent_at is not None
    ]
