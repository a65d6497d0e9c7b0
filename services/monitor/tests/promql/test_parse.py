from __future__ import annotations

import pytest

from llm_monitor.promql import InvalidExpression, parse


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("sum(", "unclosed left parenthesis"),
        ("", "no expression"),
        ("rate(x)", "expected type matrix"),
        ("x[5m]", "range vector"),
        ("x[5m:1s]", "range vector"),
        ('"text"', "string"),
        ("predict_linear(x[5m], 3)", "function 'predict_linear' is not supported"),
        ('count_values("a", x)', "aggregation 'count_values' is not supported"),
        ("x atan2 y", "operator 'atan2' is not supported"),
        ('x{a=~"("}', "regex"),
    ],
)
def test_invalid_expression_is_refused_with_its_text(text: str, says: str) -> None:
    with pytest.raises(InvalidExpression) as caught:
        parse(text)
    assert says in str(caught.value)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize(
    ("text", "scalar"),
    [("1 + 2", True), ("time()", True), ("-scalar(x)", True), ("x + 1", False), ("vector(1)", False), ("-x", False)],
)
def test_scalars_are_told_from_vectors(text: str, scalar: bool) -> None:
    assert parse(text).is_scalar is scalar


def test_metric_names_are_those_of_all_selectors() -> None:
    expression = parse('sum(rate(a_total[1m])) / on () (b or {__name__="c"}) + max_over_time(rate(d[1m])[5m:1s])')
    assert expression.metric_names() == {"a_total", "b", "c", "d"}
