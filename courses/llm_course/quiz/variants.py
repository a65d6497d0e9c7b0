"""The drawn forms of a number question: parameters, the right value, and the wrong values of known mistakes.

They are all computed here, in Python, so that page and terminal cannot disagree about an answer: an attempt takes one
of them at random.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass

from llm_course.errors import CourseError
from llm_course.quiz.formula import Functions, Value, evaluate
from llm_course.quiz.questions import Number

MOST = 24
"""Variants of one question in the page."""
FEWEST_SHARE = 0.5
"""A question is refused if fewer of its combinations are usable: its mistakes do not tell themselves apart."""


@dataclass(frozen=True, slots=True)
class Variant:
    values: dict[str, Value]
    """Parameters and derived names, as texts show them."""
    answer: Value
    wrong: list[Value]
    """One for each of the question's known mistakes, in their order."""

    @property
    def texts(self) -> dict[str, str]:
        return {name: show(value) for name, value in self.values.items()}


def variants(question: Number, functions: Functions | None = None) -> list[Variant]:
    """Return up to MOST variants, the same each time; CourseError if the question's formulas fail.

    A combination in which a known mistake gives the right value, or two mistakes the same, is left out.
    """
    every = [dict(zip(question.given, values, strict=True)) for values in itertools.product(*question.given.values())]
    computed = [_compute(question, given, functions) for given in every]
    usable = [variant for variant in computed if _is_usable(variant, question.tolerance)]
    if not usable or len(usable) < FEWEST_SHARE * len(every):
        example = next(variant for variant in computed if not _is_usable(variant, question.tolerance))
        raise CourseError(
            f"question {question.id}: only {len(usable)} of {len(every)} combinations tell the right value from the "
            f"known mistakes; with {example.texts} the right value is {show(example.answer)} and the mistakes give "
            f"{', '.join(map(show, example.wrong))}"
        )
    return random.Random(question.id).sample(usable, min(MOST, len(usable)))


def show(value: Value) -> str:
    """Return a number as a reader writes it: at most four decimals, thousands apart."""
    if isinstance(value, float) and not value.is_integer():
        return f"{value:,.4f}".rstrip("0")
    return f"{int(value):,}" if abs(value) >= 10_000 else str(int(value))


def matches(value: Value, wanted: Value, tolerance: float) -> bool:
    """Return whether the value is within the relative tolerance; a rounded last digit always is."""
    return abs(value - wanted) <= max(tolerance * abs(wanted), 1e-9 * max(1.0, abs(wanted)))


def _compute(question: Number, given: dict[str, Value], functions: Functions | None) -> Variant:
    values = dict(given)
    try:
        for name, formula in question.let.items():
            values[name] = evaluate(formula, values, functions)
        answer = evaluate(question.answer, values, functions)
        wrong = [evaluate(known.answer, values, functions) for known in question.wrong]
    except CourseError as error:
        raise CourseError(f"question {question.id}: {error}") from None
    return Variant(values, answer, wrong)


def _is_usable(variant: Variant, tolerance: float) -> bool:
    return not any(_close(left, right, tolerance) for left, right in _pairs([variant.answer, *variant.wrong]))


def _close(left: Value, right: Value, tolerance: float) -> bool:
    return matches(left, right, tolerance) or matches(right, left, tolerance)


def _pairs(values: list[Value]) -> Iterator[tuple[Value, Value]]:
    return itertools.combinations(values, 2)
