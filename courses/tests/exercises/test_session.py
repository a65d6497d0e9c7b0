"""The log keeps what matters: hints and their levels, predictions as they were made, passes with their seconds."""

from __future__ import annotations

from pathlib import Path

import pytest

from llm_course.errors import CourseError
from llm_course.exercises.exercise import Exercise, find, read_all
from llm_course.exercises.outcome import Failure, Outcome, Report
from llm_course.exercises.session import Session, State, after, current, state
from llm_course.exercises.work import Work
from llm_course.progress.log import Log

pytestmark = pytest.mark.usefixtures("course")
FAILED = Failure(error="AssertionError", message="assert 5 == 6", got="5", expected="6")


class Tests:
    """Stand in for the process that runs the tests."""

    passes = False

    def __call__(self, exercise: Exercise) -> Report:
        failure = None if self.passes else FAILED
        outcome = Outcome(test="test_double", contract="c", seconds=0.25, failure=failure, prediction=6.0)
        return Report(number=exercise.number, subject="learner", outcomes=(outcome,), num_tests=1, seconds=0.25)


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path / "learn/progress.jsonl")


@pytest.fixture
def tests() -> Tests:
    return Tests()


@pytest.fixture
def session(tmp_path: Path, log: Log, tests: Tests) -> Session:
    return Session(find("2.3"), Work(tmp_path / "learn"), log, tests)


def events(log: Log) -> list[object]:
    return [event.facts["event"] for event in log.of("exercise", "2.3")]


def test_fail_then_pass(session: Session, log: Log, tests: Tests, tmp_path: Path) -> None:
    session.run()
    assert state(log, "2.3") is State.STARTED
    tests.passes = True
    session.run()
    assert events(log) == ["started", "failed", "passed"]
    assert log.of("exercise")[-1].facts["seconds"] == 0.25
    assert len(list((tmp_path / "learn/.history/2.3").iterdir())) == 1
    assert state(log, "2.3") is State.PASSED


def test_a_prediction_is_made_once_and_answered_once(session: Session, log: Log, tests: Tests) -> None:
    assert session.wants_prediction
    session.predict(7)
    assert not session.wants_prediction
    with pytest.raises(CourseError, match="you predicted 7 apples; a prediction stays"):
        session.predict(6)
    assert session.run()[1] is None
    assert log.of("prediction") == []
    tests.passes = True
    assert str(session.run()[1]) == "you predicted 7 apples; it is 6"
    assert session.run()[1] is None
    (event,) = log.of("prediction", "2.3")
    assert event.facts == {"name": "twice-three", "predicted": 7, "actual": 6.0, "unit": "apples"}


def test_hints_come_in_order_and_the_last_stays(session: Session, log: Log) -> None:
    assert [session.hint()[0] for _ in range(5)] == [1, 2, 3, 3, 3]
    assert [event.facts.get("level") for event in log.of("exercise")][1:] == [1, 2, 3]


def test_who_read_the_solution_does_not_test_out(session: Session, log: Log, tests: Tests) -> None:
    tests.passes = True
    assert "2 * number" in session.solution()
    with pytest.raises(CourseError, match="a hint or the solution was read"):
        session.test_out()


def test_testing_out(session: Session, log: Log, tests: Tests) -> None:
    with pytest.raises(CourseError, match="does not pass yet"):
        session.test_out()
    tests.passes = True
    assert session.test_out() == "passed without help: you can skip modules/02-core/doubling.md"
    (event,) = log.of("page", "modules/02-core/doubling.md")
    assert event.facts == {"event": "tested out", "exercise": "2.3"}


def test_what_comes_next(session: Session, log: Log, tests: Tests, tmp_path: Path) -> None:
    exercises = read_all()
    assert current(log, exercises).number == "2.3"
    following = after(session.exercise, log, exercises)
    assert following is not None
    assert following.number == "2.4"
    tests.passes = True
    other = Session(following, Work(tmp_path / "learn"), log, tests)
    assert current(log, exercises).number == "2.4"
    other.run()
    back = after(following, log, exercises)
    assert back is not None
    assert back.number == "2.3"
    session.run()
    assert after(following, log, exercises) is None
