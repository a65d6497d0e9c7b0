"""Each gate holds for a sound exercise, and notices the one thing that it is for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from llm_course.exercises.exercise import find
from llm_course.exercises.gates import Verification, verify

Edit = Callable[[str, str, str], None]


OUTLINE = "modules: [{number: 7}, {number: 2, exercises: [{number: '2.3'}]}]"


def check(course: Path, number: str = "2.3") -> Verification:
    """Verify an exercise against an outline and pages that lie in the course's folder."""
    verification = verify([find(number)])
    verification.outline, verification.docs = course / "syllabus.yaml", course / "docs"
    verification.outline.write_text(OUTLINE)
    return verification


def complaints(course: Path, outline: str = OUTLINE) -> list[str]:
    """Return what the gates say of exercise 2.3, with its page brought up to date first."""
    verification = check(course)
    verification.outline.write_text(outline)
    verification.write_pages()
    return [str(complaint) for complaint in verification.complaints()]


def test_a_sound_exercise(course: Path) -> None:
    assert complaints(course) == []
    assert "```text\n✗ Twice three is six.\n  not written yet" in (course / "ex03_doubling/task.md").read_text()


@pytest.mark.parametrize(
    ("file", "old", "new", "complaint"),
    [
        ("solution.py", "return 2 * number", "return 3 * number", "2.3 solution: test_double fails: AssertionError"),
        ("tests/test_doubling.py", 'record_property("prediction", double(3))', "", "2.3 solution: test_double notes"),
        ("solution.py", "# stub: return 0", "# stub: return number // 2", "2.3 starter: test_half passes with nothing"),
        ("solution.py", "# stub: return 0", "# stub: return {}[0]", "2.3 starter: test_half fails by KeyError"),
        ("solution.py", "# stub: return 0\n", "# stub: return (\n", "2.3 starter: it cannot be imported"),
        ("wrong/adds.py", "number + 2", "number * 2", "2.3 wrong: adds passes test_double, which should notice it"),
        ("wrong/adds.py", "test_double", "test_triple", "2.3 wrong: adds names test_triple, which is no test"),
        ("exercise.toml", "lines = 2", "lines = 20", "2.3 folder: the learner writes 2 lines"),
        ("exercise.toml", 'number = "2.3"', 'number = "2.5"', "2.5 folder: exercise.toml says 2.5"),
        ("exercise.toml", "doubling.md", "doubling", "2.3 folder: page 'modules/02-core/doubling'"),
        ("hints.md", "## 3 Code", "", "2.3 folder: hints.md has 2 hints"),
        ("task.md", "tests: starter", "nothing", "2.3 page: task.md shows nothing"),
    ],
)  # fmt: skip
def test_a_gate_notices(course: Path, edit: Edit, file: str, old: str, new: str, complaint: str) -> None:
    edit(file, old, new)
    if file == "exercise.toml" and "number" in old:
        found = [str(each) for each in check(course, "2.5").complaints()]
    else:
        found = complaints(course)
    assert any(each.startswith(complaint) for each in found), found


def test_a_wreck_is_no_wrong_solution(course: Path) -> None:
    """A wrong solution that fails every test shows nothing about the tests."""
    (course / "ex03_doubling/wrong/adds.py").write_text(
        '"""Fails test_double: nothing is right."""\n\n\ndef double(number: int) -> int:\n    return 0\n\n\n'
        "def half(number: int) -> int:\n    return 9\n"
    )
    assert complaints(course) == ["2.3 wrong: adds passes no test at all, as no solution in good faith does"]


def test_two_wrong_solutions_are_too_few(course: Path) -> None:
    (course / "ex03_doubling/wrong/adds.py").unlink()
    assert complaints(course) == ["2.3 wrong: 2 wrong solutions; 3 are needed"]


def test_the_page_is_there_if_the_module_has_pages(course: Path) -> None:
    module = course / "docs/modules/02-core"
    module.mkdir(parents=True)
    (module / "index.md").touch()
    assert complaints(course) == []
    (module / "other.md").touch()
    assert complaints(course) == ["2.3 folder: page 'modules/02-core/doubling.md' is no Markdown page below docs/"]
    (module / "doubling.md").touch()
    assert complaints(course) == []


def test_a_page_that_is_out_of_date(course: Path) -> None:
    verification = check(course)
    assert [str(each).partition(";")[0] for each in verification.complaints()] == [
        "2.3 page: task.md shows what the tests no longer print"
    ]


@pytest.mark.parametrize("outline", ["modules: []", "modules: [{number: 1, exercises: [{number: '2.3'}]}]"])
def test_an_exercise_that_the_outline_does_not_have(course: Path, outline: str) -> None:
    assert complaints(course, outline) == ["2.3 syllabus: the syllabus has no exercise 2.3 in module 2"]
