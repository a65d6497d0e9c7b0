"""Starters from solutions: what is outside the regions is the same, to the character."""

from __future__ import annotations

import ast

import pytest
from hypothesis import given
from hypothesis.strategies import lists, sampled_from

from llm_course.errors import CourseError
from llm_course.exercises.regions import lines_to_write, starter, without_marks

SOLUTION = """\
class A:
    def one(self):
        # region exercise: say "one"
        return 1
        # endregion

    def two(self):
        # region exercise: count to two
        # stub: return 0
        # a comment of the solution

        return 2
        # endregion
"""


def test_a_region_becomes_its_text_or_its_stub() -> None:
    assert starter(SOLUTION) == (
        "class A:\n    def one(self):\n        raise NotImplementedError('say \"one\"')\n\n"
        "    def two(self):\n        return 0\n"
    )


def test_the_solution_is_read_without_marks() -> None:
    read = without_marks(SOLUTION)
    assert "region" not in read
    assert "stub" not in read
    assert "        return 1\n" in read
    assert lines_to_write(SOLUTION) == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x\n# region exercise: a\ny", "line 2: the region is not closed"),
        ("# endregion", "line 1: a region ends that has not begun"),
        ("# region exercise: a\n# region exercise: b\n# endregion", "line 2: a region begins inside"),
    ],
)
def test_regions_that_are_not_right_are_named(text: str, message: str) -> None:
    with pytest.raises(CourseError, match=message):
        starter(text)


@given(lists(sampled_from(["plain", "region"]), max_size=6))
def test_outside_the_regions_nothing_changes(kinds: list[str]) -> None:
    """Any mix of plain functions and regions: both results compile, and agree on the plain ones."""
    parts = []
    for index, kind in enumerate(kinds):
        body = f"    return {index}"
        if kind == "region":
            body = f"    # region exercise: part {index}\n{body}\n    # endregion"
        parts.append(f"def f{index}():\n{body}\n")
    text = "\n".join(parts)
    begun, solved = ast.parse(starter(text)).body, ast.parse(without_marks(text)).body
    for kind, one, other in zip(kinds, begun, solved, strict=True):
        assert (ast.dump(one) == ast.dump(other)) == (kind == "plain")
