"""Definitions put into another file: nothing else there moves, and what fits nowhere is refused."""

from __future__ import annotations

import pytest

from llm_course.errors import CourseError
from llm_course.exercises.graft import definitions, graft

BASE = '''\
"""A module."""

import os

LIMIT = 3


class A:
    size: int = 1

    @property
    def one(self) -> int:
        return 1

    def two(self, x: int) -> int:
        return 2  # kept


def last() -> int:
    return LIMIT
'''


def test_a_method_is_replaced_with_its_decorators() -> None:
    new = graft(BASE, "class A:\n    @staticmethod\n    def one(self) -> int:\n        return 11\n")
    assert new == BASE.replace("    @property", "    @staticmethod").replace("return 1\n", "return 11\n")


def test_several_at_once_constants_among_them() -> None:
    new = graft(BASE, '"""Fails x: y."""\n\nLIMIT = 4\n\n\ndef last() -> int:\n    a = 1\n    return LIMIT + a\n')
    scope: dict[str, object] = {}
    exec(new, scope)  # noqa: S102 - the text is the test's
    assert scope["last"]() == 5  # type: ignore[operator]
    assert "return 2  # kept" in new


@pytest.mark.parametrize(
    ("patch", "message"),
    [
        ("def first(): ...", "first replaces nothing"),
        ("class A:\n    def three(self): ...", "A.three replaces nothing"),
        ("class A:\n    def two(self, y: int) -> int: ...", r"A.two takes \(self, y: int\)"),
    ],
)
def test_a_graft_that_does_not_fit_is_refused(patch: str, message: str) -> None:
    with pytest.raises(CourseError, match=message):
        graft(BASE, patch)


def test_a_change_of_the_engine_can_add() -> None:
    patch = (
        "import os\nimport sys\n\n\nclass A:\n    def two(self, x: int) -> int:\n        return self.three()\n\n"
        "    def three(self) -> int:\n        return len(sys.path)\n\n\ndef new() -> str:\n    return os.sep\n"
    )
    new = graft(BASE, patch, may_add=True)
    compile(new, "new", "exec")
    assert new.count("import os") == 1
    assert new.index("def two") < new.index("def three") < new.index("def new") < new.index("def last")
    assert definitions(patch) == ["A.two", "A.three", "new"]
