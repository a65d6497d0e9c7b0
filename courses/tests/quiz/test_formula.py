"""Formulas compute, and do nothing else."""

from __future__ import annotations

import pytest

from llm_course.errors import CourseError
from llm_course.quiz.formula import evaluate


@pytest.mark.parametrize(
    ("formula", "value"),
    [
        ("2 * a + b", 11),
        ("ceil(a / b) - -1", 2),
        ("a // b * b", 0),
        ("a if a > b else b", 5),
        ("max(a, b) ** 2 % 7", 4),
        ("pick('x')", 8),
    ],
)
def test_arithmetic(formula: str, value: float) -> None:
    assert evaluate(formula, {"a": 3, "b": 5}, {"pick": lambda name: 8}) == value


@pytest.mark.parametrize(
    "formula",
    ["c", "a +", "__import__('os')", "a.b", "[a]", "a / 0", "(lambda: 1)()", "log2(-1)", "a and b", "max(a, key=b)"],
)
def test_anything_else_is_refused_with_the_formula(formula: str) -> None:
    with pytest.raises(CourseError, match="formula"):
        evaluate(formula, {"a": 3, "b": 5})
