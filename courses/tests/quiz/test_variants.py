"""Variants differ, are the same each time, and never let a known mistake give the right value."""

from __future__ import annotations

from typing import Any

import pytest

from llm_course.errors import CourseError
from llm_course.quiz.questions import KnownWrong, Number
from llm_course.quiz.variants import MOST, matches, show, variants


def question(**fields: Any) -> Number:
    given = {
        "id": "waste",
        "page": "p",
        "ask": "?",
        "kind": "number",
        "given": {"n": [17, 20, 33], "size": [16, 8]},
        "let": {"blocks": "ceil(n / size)"},
        "answer": "blocks * size - n",
        "wrong": [KnownWrong(answer="n % size", why="the other end")],
        "why": "{blocks} blocks",
    }
    return Number.model_validate(given | fields)


def test_each_combination_is_computed() -> None:
    found = {(v.values["n"], v.values["size"]): (v.answer, v.wrong) for v in variants(question())}
    assert found[17, 16] == (15, [1])
    assert found[33, 8] == (7, [1])
    assert variants(question())[0].texts["blocks"] == str(variants(question())[0].values["blocks"])


def test_a_combination_where_a_mistake_is_right_is_left_out() -> None:
    found = [(v.values["n"], v.values["size"]) for v in variants(question())]
    assert (20, 8) not in found
    assert len(found) == 5


def test_a_question_whose_mistakes_are_mostly_right_is_refused() -> None:
    with pytest.raises(CourseError, match="question waste: only 0 of 6 combinations"):
        variants(question(wrong=[KnownWrong(answer="blocks * size - n", why="same")]))
    with pytest.raises(CourseError, match="question waste: formula 'm'"):
        variants(question(answer="m"))


def test_there_are_at_most_so_many_and_always_the_same() -> None:
    many = question(given={"n": list(range(100, 200)), "size": [7]})
    assert len(variants(many)) == MOST
    assert variants(many) == variants(many)


def test_numbers_are_written_for_readers() -> None:
    assert [show(value) for value in (4, 12_345, 1234, 2.0, 0.05, 2.66666666)] == [
        "4",
        "12,345",
        "1234",
        "2",
        "0.05",
        "2.6667",
    ]


def test_a_tolerance_is_relative() -> None:
    assert matches(2.05, 2.0, 0.03)
    assert not matches(2.07, 2.0, 0.03)
    assert not matches(5, 4, 0)
