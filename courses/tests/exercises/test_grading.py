"""Reports say what a learner needs: the promise, the two sides, the place; and a wreck is one clear line."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from llm_course.exercises.exercise import find
from llm_course.exercises.grading import grade, grade_apart
from llm_course.exercises.outcome import Report
from llm_course.exercises.report import describe_report
from llm_course.exercises.subject import Subject
from llm_course.exercises.watcher import Plan

Edit = Callable[[str, str, str], None]
pytestmark = pytest.mark.usefixtures("course")


def report_of(*subjects: tuple[str, str]) -> list[Report]:
    return grade([Plan(Subject(find(number), name)) for number, name in subjects])


def test_subjects_of_two_exercises_stay_apart() -> None:
    solution, wrong = report_of(("2.3", "solution"), ("2.4", "wrong/squares"))
    assert solution.passed
    assert [(outcome.test, outcome.passed) for outcome in wrong.outcomes] == [
        ("test_double", False),
        ("test_half", True),
        ("test_both", False),
    ]
    again, _ = report_of(("2.3", "wrong/adds"), ("2.4", "solution"))
    assert not again.passed, "the second session has imported the tests afresh"


def test_a_failure_has_its_contract_and_both_sides() -> None:
    (report,) = report_of(("2.3", "wrong/adds"))
    failed = report.first_failure
    assert failed is not None
    assert failed.failure is not None
    assert (failed.contract, failed.failure.expected, failed.failure.got) == ("Twice three is six.", "6", "5")
    assert report.of("test_double")[0].prediction == 5
    assert describe_report(find("2.3"), report).splitlines()[:4] == [
        "✗ Twice three is six.",
        "  expected  6",
        "  got       5",
        f"  in test_double, line {failed.failure.test_line}",
    ]


def test_what_is_not_written_yet_is_said_in_the_regions_words() -> None:
    (report,) = report_of(("2.3", "starter"))
    assert "not written yet: two times the number" in describe_report(find("2.3"), report)
    assert report.outcomes[0].failure is not None
    assert report.outcomes[0].failure.line == 4


def test_a_report_survives_the_way_between_processes() -> None:
    for name in ("solution", "starter"):
        (report,) = report_of(("2.3", name))
        assert Report.from_json(report.to_json()) == report


def test_a_process_of_its_own_stops_at_the_first_failure() -> None:
    report = grade_apart(find("2.3"), "wrong/adds")
    assert [outcome.passed for outcome in report.outcomes] == [False]
    assert report.num_tests == 3
    assert grade_apart(find("2.3"), "solution").passed


@pytest.mark.parametrize(
    ("written", "line"),
    [
        ("    return 2 *\n", "SyntaxError: invalid syntax: return 2 *"),
        ("    return 2\nimport os\nos._exit(3)\n", "Crash: the process ended without a word"),
        ("    return 2\nraise SystemExit('enough')\n", "SystemExit: enough"),
        ("    return 2\nraise ValueError\n", "ValueError: ValueError\n  at doubling.py:5"),
    ],
)
def test_a_wreck_is_one_clear_line(course: Path, written: str, line: str) -> None:
    (course / "ex03_doubling/solution.py").write_text("\n\ndef double(number: int) -> int:\n" + written)
    report = grade_apart(find("2.3"), "solution")
    assert not report.passed
    assert line in describe_report(find("2.3"), report)


def test_a_file_that_hangs_is_stopped(course: Path) -> None:
    (course / "ex03_doubling/solution.py").write_text("\nwhile True:\n    pass\n")
    report = grade_apart(find("2.3"), "solution", timeout=5)
    said = describe_report(find("2.3"), report)
    assert re.search(r"stopped after 5 s: something waits or loops without end at doubling\.py:[23]", said)


def test_a_test_file_that_cannot_be_imported(course: Path) -> None:
    (course / "ex03_doubling/tests/test_doubling.py").write_text("from exercise import triple\n")
    (report,) = report_of(("2.3", "solution"))
    assert report.broken is not None
    assert "triple" in report.broken.message
