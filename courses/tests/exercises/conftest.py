"""A small course of two exercises, in a folder of the test's own, and a learner's folder beside it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from llm_course.exercises.exercise import FOLDER_VARIABLE

SOLUTION = '''
def double(number: int) -> int:
    """Return twice the number."""
    # region exercise: two times the number
    return 2 * number
    # endregion


def half(number: int) -> int:
    """Return half the number, rounded down."""
    # region exercise: the number without its last bit
    # stub: return 0
    return number // 2
    # endregion
'''

TESTS = '''
from exercise import double, half


def test_double(record_property) -> None:
    """Twice three is six."""
    record_property("prediction", double(3))
    assert double(3) == 6


def test_half() -> None:
    """Half of five is two, and of minus five minus three."""
    assert (half(5), half(-5)) == (2, -3)


def test_both() -> None:
    """Twice and half are where we began."""
    assert half(double(7)) == 7
'''

WRONG = {
    "squares": '"""Fails test_double: it squares."""\n\n\ndef double(number: int) -> int:\n    return number**2\n',
    "rounds": '"""Fails test_half: it rounds up."""\n\n\ndef half(number: int) -> int:\n    return -(-number // 2)\n',
    "adds": '"""Fails test_double: it adds two."""\n\n\ndef double(number: int) -> int:\n    return number + 2\n',
}

TOML = """
number = "{number}"
title = "Double and half"
module = 2
topics = [1]
hours = 1.0
lines = 2
path = "core"
page = "modules/02-core/doubling.md"

[prediction]
name = "twice-three"
question = "What is twice three?"
unit = "apples"
actual = "test_double"
"""

HINTS = "## 1 Where\n\nlook above\n\n## 2 Idea\n\nadd it to itself\n\n## 3 Code\n\n`2 * number`\n"
TASK = "# Doubling\n\n<!-- tests: starter -->\n<!-- end of tests -->\n"


def write_exercise(folder: Path, number: str) -> Path:
    folder.mkdir(parents=True)
    (folder / "solution.py").write_text(SOLUTION)
    (folder / "exercise.toml").write_text(TOML.format(number=number))
    (folder / "hints.md").write_text(HINTS)
    (folder / "task.md").write_text(TASK)
    for name, text in {**{f"wrong/{key}": value for key, value in WRONG.items()}, "tests/test_doubling": TESTS}.items():
        path = folder / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return folder


@pytest.fixture
def course(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the course; every reader of exercises sees these two."""
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "course"))
    write_exercise(tmp_path / "course/02-core/ex03_doubling", "2.3")
    write_exercise(tmp_path / "course/02-core/ex04_again", "2.4")
    return tmp_path / "course/02-core"


@pytest.fixture
def edit(course: Path) -> Callable[[str, str, str], None]:
    """Replace a piece of text in a file of exercise 2.3: edit(name, old, new)."""

    def change(name: str, old: str, new: str) -> None:
        path = course / "ex03_doubling" / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    return change
