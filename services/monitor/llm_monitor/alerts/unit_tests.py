"""promtool's unit tests of rules, run on this engine: the same file passes `promtool test rules` and this.

https://prometheus.io/docs/prometheus/latest/configuration/unit_testing_rules/
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Final

import numpy as np
import promql_parser
import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict

from llm_monitor.alerts.engine import AlertEngine
from llm_monitor.alerts.rules import Duration, PromQL, Rules, load_files
from llm_monitor.promql import instant
from llm_monitor.promql.vectors import show
from llm_monitor.series import Labels, Matcher, Series, labels_of
from llm_monitor.series.selection import NAME

_ITEM = re.compile(r"(_|stale|[-+]?(?:[\d.]+(?:e[-+]?\d+)?|inf|nan))(?:([-+][\d.]+(?:e[-+]?\d+)?)?x(\d+))?", re.I)
MAX_SAMPLES: Final = 1_000_000


class InvalidTest(ValueError):
    """The test file is not in promtool's format, or uses a part of it that is not supported."""


def _series(text: object) -> Labels:
    try:
        selector = promql_parser.parse(str(text))
    except ValueError as error:
        raise ValueError(f"{text!r} is no series: {error}") from None
    if not isinstance(selector, promql_parser.VectorSelector):
        raise ValueError(f"{text!r} is no series")
    return labels_of({NAME: selector.name or "", **{m.name: m.value for m in selector.matchers.matchers}})


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)


class InputSeries(_Model):
    series: Annotated[Labels, BeforeValidator(_series)]
    values: str


class ExpectedAlert(_Model):
    exp_labels: Mapping[str, str] = {}
    exp_annotations: Mapping[str, str] = {}


class AlertTest(_Model):
    eval_time: Duration
    alertname: str
    exp_alerts: Sequence[ExpectedAlert] = ()


class ExpectedSample(_Model):
    labels: str
    value: float


class ExpressionTest(_Model):
    expr: PromQL
    eval_time: Duration
    exp_samples: Sequence[ExpectedSample] = ()


class Case(_Model):
    name: str = ""
    interval: Duration
    input_series: Sequence[InputSeries]
    alert_rule_test: Sequence[AlertTest] = ()
    promql_expr_test: Sequence[ExpressionTest] = ()


class TestFile(_Model):
    __test__ = False
    rule_files: Sequence[Path]
    evaluation_interval: Duration = 60.0
    group_eval_order: Sequence[str] = ()
    """Groups in the order of evaluation. promtool's order is random without it; here it is that of the rules."""
    tests: Sequence[Case]


def run_file(path: Path) -> list[str]:
    """Return what fails in a test file, an empty list if nothing does. Raises InvalidTest and InvalidRules."""
    try:
        file = TestFile.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise InvalidTest(f"{path}: {error}") from None
    rules = load_files(path.parent / rule_file for rule_file in file.rule_files)
    order = {name: number for number, name in enumerate(file.group_eval_order)}
    rules = Rules(tuple(sorted(rules.groups, key=lambda group: order.get(group.name, -1))))
    failures = []
    for number, case in enumerate(file.tests):
        name = case.name or f"test {number + 1}"
        failures += [f"{name}: {failure}" for failure in _run_case(case, rules, file.evaluation_interval)]
    return failures


class Samples:
    """The input series of a test, as a source."""

    def __init__(self, case: Case) -> None:
        self._series = [_samples(each, case.interval) for each in case.input_series]

    def select(self, matchers: Sequence[Matcher], start: float, end: float) -> list[Series]:
        found = []
        for each in self._series:
            labels = dict(each.labels)
            low, high = np.searchsorted(each.times, [start, end], side="right")
            if high > low and all(matcher.matches(labels.get(matcher.name, "")) for matcher in matchers):
                found.append(Series(each.labels, each.times[low:high], each.values[low:high]))
        return found


def _run_case(case: Case, rules: Rules, interval: float) -> Iterator[str]:
    # promtool evaluates every group at the file's interval, whatever interval the group has.
    groups = tuple(group.model_copy(update={"interval": interval}) for group in rules.groups)
    engine = AlertEngine(Rules(groups), Samples(case))
    checks: list[AlertTest | ExpressionTest] = [*case.alert_rule_test, *case.promql_expr_test]
    checks.sort(key=lambda check: check.eval_time)
    at = 0.0
    for check in checks:
        while at <= check.eval_time:
            engine.evaluate(at)
            at += interval
        yield from _alerts(engine, check) if isinstance(check, AlertTest) else _values(engine, check)
    for health, rule in ((engine.health[id(rule)], rule) for rule in engine.rules):
        if health.error:
            yield f"rule {rule.name}: {health.error}"


def _alerts(engine: AlertEngine, check: AlertTest) -> Iterator[str]:
    def texts(labels: Mapping[str, str], annotations: Mapping[str, str]) -> str:
        return show(labels_of({**labels, "alertname": check.alertname})) + f" {dict(sorted(annotations.items()))}"

    found = [a for a in engine.alerts() if a.name == check.alertname and a.state == "firing"]
    got = sorted(texts(dict(alert.labels), alert.annotations) for alert in found)
    expected = sorted(texts(each.exp_labels, each.exp_annotations) for each in check.exp_alerts)
    if got != expected:
        yield f"{check.alertname} at {check.eval_time:g} s: expected {expected}, got {got}"


def _values(engine: AlertEngine, check: ExpressionTest) -> Iterator[str]:
    vector = instant(check.expr, engine.source, check.eval_time)
    got = dict(zip(map(show, vector.labels), vector.values[:, 0].tolist(), strict=True))
    expected = {show(_series(each.labels)) if each.labels != "{}" else "{}": each.value for each in check.exp_samples}
    if got.keys() != expected.keys() or any(not math.isclose(got[name], expected[name]) for name in got):
        yield f"{check.expr.text} at {check.eval_time:g} s: expected {expected}, got {got}"


def _samples(series: InputSeries, interval: float) -> Series:
    """Return the samples of promtool's notation: `1+2x3` is 1 3 5 7, `_` no sample, `stale` the end."""
    values: list[float | None] = []
    for text in series.values.split():
        item = _ITEM.fullmatch(text)
        if item is None:
            raise InvalidTest(f"{text!r} in {series.values!r} is no value")
        start, step, count = item[1].lower(), float(item[2] or 0), int(item[3] or 0)
        if len(values) + count > MAX_SAMPLES:
            raise InvalidTest(f"{series.values!r} has more than {MAX_SAMPLES} samples")
        if start == "_":
            values += [None] * max(count, 1)
        else:
            first = math.nan if start == "stale" else float(start)
            values += [first + index * step for index in range(count + 1)]
    kept = [index for index, value in enumerate(values) if value is not None]
    return Series(
        series.series,
        np.array([index * interval for index in kept]),
        np.array([values[index] for index in kept], float),
    )
