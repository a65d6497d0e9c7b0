"""`exercise` is the subject that is asked for, in this process and in those it spawns."""

from __future__ import annotations

import subprocess
import sys
import traceback
from pathlib import Path

import pytest

from llm_course.errors import CourseError, UsageError
from llm_course.exercises import overlay
from llm_course.exercises.exercise import find
from llm_course.exercises.subject import Active, Subject

pytestmark = pytest.mark.usefixtures("course")


def doubled(name: str) -> int:
    with Active(Subject(find("2.3"), name)).inside():
        import exercise

        return int(exercise.double(3))


def test_each_subject_is_itself() -> None:
    assert [doubled(name) for name in ("solution", "wrong/squares", "wrong/adds")] == [6, 9, 5]
    with pytest.raises(NotImplementedError, match="two times the number"):
        doubled("starter")
    assert "exercise" not in sys.modules


def test_a_subject_that_is_not_there() -> None:
    with pytest.raises(UsageError, match=r"2.3 has no 'wrong/none'"):
        doubled("wrong/none")
    with pytest.raises(UsageError, match=r"no exercise '9.9'; there are 2.3, 2.4"):
        find("9.9")


def test_a_traceback_shows_the_subjects_lines() -> None:
    with pytest.raises(NotImplementedError) as caught:
        doubled("starter")
    assert 'raise NotImplementedError("two times' in "".join(traceback.format_exception(caught.value))


def test_a_spawned_process_imports_the_same() -> None:
    with Active(Subject(find("2.3"), "wrong/adds")).inside():
        program = f"import sys; sys.path[:0] = {sys.path!r}; import exercise; print(exercise.double(3))"
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "5\n"


def test_dataclasses_and_pickle_find_the_module(course: Path) -> None:
    """dataclasses and pickle look a class's module up by its name."""
    lines = ("from __future__ import annotations", "from dataclasses import KW_ONLY, dataclass", "@dataclass")
    text = "\n".join([*lines, "class A:", "    _: KW_ONLY", "    x: int", ""])
    (course / "ex03_doubling" / "solution.py").write_text(text)
    with Active(Subject(find("2.3"), "solution")).inside():
        import pickle

        from exercise import A

        assert pickle.loads(pickle.dumps(A(x=3))) == A(x=3)


def test_a_change_of_an_engine_module_is_the_whole_module(course: Path) -> None:
    folder = course / "ex04_again"
    (folder / "solution.py").write_text(
        "def last_in_order(running: Iterable[Sequence], order: Order) -> Sequence:\n"
        "    # region exercise: the first\n    return min(running, key=order)\n    # endregion\n"
    )
    text = (folder / "exercise.toml").read_text()
    (folder / "exercise.toml").write_text('engine_module = "scheduler/policies.py"\n' + text)
    exercise = find("2.4")
    ours = (overlay.ENGINE / "scheduler" / "policies.py").read_text()
    assert Subject(exercise, "solution").text() == ours.replace("return max(running", "return min(running").replace(
        '    """Choose the least urgent sequence; the last arrival among equals has the least work to lose."""\n', ""
    )
    with Active(Subject(exercise, "starter")).inside():
        from exercise import last_in_order

        from llm_engine.scheduler import policies

        assert policies.last_in_order is last_in_order
        with pytest.raises(NotImplementedError, match="the first"):
            last_in_order([], None)
    from llm_engine.scheduler import policies as plain

    assert plain is not policies
    with pytest.raises(CourseError, match=r"2.4|again"):
        Subject(exercise, "learner").text()
