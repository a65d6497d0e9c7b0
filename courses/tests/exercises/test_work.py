"""The learner's folder: whatever is done, every version that was ever saved by a command is still somewhere."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis.strategies import lists, sampled_from, tuples

from llm_course.errors import CourseError, UsageError
from llm_course.exercises import overlay
from llm_course.exercises.exercise import find
from llm_course.exercises.work import Work

Edit = Callable[[str, str, str], None]
pytestmark = pytest.mark.usefixtures("course")


@pytest.fixture
def work(tmp_path: Path) -> Work:
    return Work(tmp_path / "learn", now=lambda: datetime(2026, 3, 1, 9, 30))


def saved(folder: Path) -> set[str]:
    return {path.read_text() for path in folder.rglob("*.py") if ".base" not in path.parts}


def test_a_file_is_begun_once(work: Work) -> None:
    exercise = find("2.3")
    assert work.open(exercise)
    file = work.file(exercise)
    assert file.name == "doubling.py"
    file.write_text("mine")
    assert not work.open(exercise)
    assert file.read_text() == "mine"


def test_a_reset_moves_the_work(work: Work, tmp_path: Path) -> None:
    exercise = find("2.3")
    work.open(exercise)
    work.file(exercise).write_text("mine")
    assert work.reset(exercise) == tmp_path / "learn/.trash/2026-03-01T09-30-00.000/2.3/doubling.py"
    assert "NotImplementedError" in work.file(exercise).read_text()
    work.file(exercise).write_text("mine too")
    work.reset(exercise)
    assert {"mine", "mine too"} <= saved(tmp_path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None)
@given(steps=lists(tuples(sampled_from(["keep", "reset", "take"]), sampled_from(["a\n", "b\n", "c\n"])), max_size=6))
def test_nothing_is_ever_lost(tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, str]]) -> None:
    learn = tmp_path_factory.mktemp("learn")
    work, exercise = Work(learn, now=lambda: datetime(2026, 3, 1)), find("2.3")
    written = set()
    work.open(exercise)
    for step, text in steps:
        work.file(exercise).write_text(text)
        written.add(text)
        {"keep": work.keep, "reset": work.reset, "take": work.take}[step](exercise)
        assert written <= saved(learn)


def test_passing_versions_are_kept_once(work: Work, tmp_path: Path) -> None:
    exercise = find("2.3")
    work.open(exercise)
    for text in ("one", "one", "two", "one"):
        work.file(exercise).write_text(text)
        work.keep(exercise)
    assert [path.read_text() for path in sorted((tmp_path / "learn/.history/2.3").iterdir())] == ["one", "two", "one"]
    assert len(list((tmp_path / "learn/.history/2.3").iterdir())) == 3


def test_an_upgrade_leaves_the_work_and_says_what_changed(work: Work, edit: Edit, tmp_path: Path) -> None:
    exercise = find("2.3")
    work.open(exercise)
    file = work.file(exercise)
    mine = file.read_text().replace('raise NotImplementedError("two times the number")', "return number + number")
    file.write_text(mine)
    assert not work.starter_has_changed(exercise)
    edit("solution.py", '"""Return half the number, rounded down."""', '"""Return half the number; -3 for -5."""')
    assert work.starter_has_changed(exercise)
    assert not work.open(exercise)
    assert file.read_text() == mine
    difference = work.diff(exercise)
    assert "+    return number + number" in difference
    assert '+    """Return half the number; -3 for -5."""' in difference
    gone = work.take(exercise)
    assert gone.read_text() == mine
    assert file.read_text() == mine.replace("the number, rounded down.", "the number; -3 for -5.")
    assert not work.starter_has_changed(exercise)


def test_an_upgrade_that_meets_the_work_changes_nothing(work: Work, edit: Edit) -> None:
    exercise = find("2.3")
    work.open(exercise)
    file = work.file(exercise)
    file.write_text(file.read_text().replace('"""Return twice the number."""', '"""Mine."""'))
    mine = file.read_text()
    edit("solution.py", '"""Return twice the number."""', '"""Theirs."""')
    with pytest.raises(CourseError, match=r"the same lines of doubling\.py"):
        work.take(exercise)
    assert file.read_text() == mine


def test_nothing_begun(work: Work) -> None:
    with pytest.raises(CourseError, match=r"2.3 is not begun; ./lab exercise 2.3"):
        work.diff(find("2.3"))


def test_modules_are_taken_over_and_given_back(work: Work, tmp_path: Path) -> None:
    place = work.take_over_module("scheduler/policies.py")
    place.write_text("mine = True")
    assert work.take_over_module("scheduler/policies.py").read_text() == "mine = True", "never overwritten"
    assert work.outdated_modules() == []
    (tmp_path / "learn/.base/llm_engine/scheduler/policies.py").write_text("ours, then")
    assert work.outdated_modules() == ["scheduler/policies.py"]
    folder = work.engine()
    with overlay.Engine(folder).active():
        from llm_engine.scheduler import policies

        assert policies.mine
    gone = work.give_back("scheduler/policies.py")
    assert gone.read_text() == "mine = True"
    work.engine()
    assert (folder / "llm_engine/scheduler/policies.py").resolve() == overlay.ENGINE / "scheduler/policies.py"


@pytest.mark.parametrize("name", ["nothing.py", "../llm_engine/engine.py", "scheduler", "/etc/passwd"])
def test_no_module_of_the_engine(work: Work, name: str) -> None:
    with pytest.raises(UsageError, match="the engine has no module"):
        work.take_over_module(name)


def test_an_exercise_becomes_part_of_the_learners_engine(work: Work, edit: Edit, course: Path) -> None:
    edit("exercise.toml", 'path = "core"', 'path = "core"\nengine_module = "scheduler/doubling.py"')
    given_ = course / "ex03_doubling/engine/scheduler"
    given_.mkdir(parents=True)
    (given_ / "policies.py").write_text("from llm_engine.scheduler.doubling import double\n")
    exercise = find("2.3")
    work.open(exercise)
    work.file(exercise).write_text("def double(number):\n    return 7\n")
    assert len(work.take_over(exercise)) == 2
    assert work.outdated_modules() == []
    with overlay.Engine(work.engine()).active():
        from llm_engine.scheduler.policies import double

        assert double(1) == 7
    with pytest.raises(UsageError, match="no part of the engine"):
        work.take_over(find("2.4"))
