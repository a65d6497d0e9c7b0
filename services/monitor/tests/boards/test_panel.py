"""Filters, grouping and window get into an expression."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_monitor.boards.catalog import BOARDS
from llm_monitor.boards.panel import Choice, expand, template
from llm_monitor.promql import parse

RATE = "sum by (le, $by_engines) (rate(x_bucket{$engines}[$window]))"


@pytest.mark.parametrize(
    ("expression", "choice", "expected"),
    [
        ("up{$engines}", Choice(), "up"),
        (RATE, Choice(), "sum by (le) (rate(x_bucket[10000ms]))"),
        (RATE, Choice(by="engine", window=0.25), "sum by (le, instance) (rate(x_bucket[250ms]))"),
        ("sum by ($by_engines) (x)", Choice(), "sum (x)"),
        ("sum by ($by_engines) (x)", Choice(by="tenant"), "sum (x)"),
        ("x{$engines}", Choice({"model": ("main",)}), 'x{model_name="main"}'),
        ("x{$engines}", Choice({"class": ("batch",)}), "x"),
        ('x{$classes, met="yes"}', Choice(), 'x{met="yes"}'),
        ('x{$classes, met="yes"}', Choice({"class": ("a",)}), 'x{class="a", met="yes"}'),
        ("x{$engines}", Choice({"engine": ("a:1", "b.c:2")}), 'x{instance=~"a:1|b\\\\.c:2"}'),
        ("x{$engines}", Choice({"engine": ('"} or y{z="',)}), 'x{instance="\\"} or y{z=\\""}'),
    ],
)
def test_an_expression_takes_the_choice(expression: str, choice: Choice, expected: str) -> None:
    assert expand(expression, choice) == expected


@given(st.lists(st.text(min_size=1, max_size=20), min_size=1, max_size=3, unique=True), st.text(max_size=8))
def test_no_value_of_a_filter_gets_out_of_its_quotes(values: list[str], other: str) -> None:
    expression = expand("x{$engines}", Choice({"engine": tuple(values), "model": (other,) if other else ()}))
    (selector,) = [parse(expression).root]
    matcher = next(one for one in selector.matchers if one.name == "instance")
    assert all(matcher.matches(value) for value in values)


@pytest.mark.parametrize("by", ["", "model", "engine", "class", "tenant"])
def test_every_expression_parses_whatever_is_chosen(by: str) -> None:
    every = Choice(dict.fromkeys(("model", "engine", "class", "tenant"), ("a", "b")), by)
    for query in (query for board in BOARDS for panel in board.panels for query in panel.queries):
        parse(expand(query.expression, every))
        parse(expand(query.expression, Choice(by=by)))


def test_a_template_has_grafanas_variables() -> None:
    expected = 'sum by (le, instance) (rate(x_bucket{model_name=~"$model",instance=~"$engine"}[$__rate_interval]))'
    assert template(RATE, "engine", "$__rate_interval") == expected


def test_keys_are_unique() -> None:
    for board in BOARDS:
        keys = [panel.key for panel in board.panels]
        assert len(keys) == len(set(keys)), board.key


def test_there_are_enough_metrics() -> None:
    names = {
        name
        for board in BOARDS
        for panel in board.panels
        for query in panel.queries
        for name in parse(expand(query.expression, Choice())).metric_names()
    }
    assert len(names) >= 60
