"""The commands: what they print, and one clear line for what cannot be done."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from llm_course import paths
from llm_course.cli import main

pytestmark = pytest.mark.usefixtures("course", "learn")


@pytest.fixture
def learn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "learn"
    monkeypatch.setattr(paths, "LEARN", folder)
    return folder


def exercise(*words: str) -> int:
    return main(["exercise", *words])


def test_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert exercise("hint", "2.3") == 0
    capsys.readouterr()
    assert exercise("list") == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [(line[0], line[-1]) for line in lines[1:]] == [("2.3", "started"), ("2.4", "new")]


def test_the_first_run_says_where_the_file_is_and_a_prediction_is_confirmed(capsys: pytest.CaptureFixture[str]) -> None:
    exercise("run", "2.3")
    assert "2.3/doubling.py, its task " in capsys.readouterr().out.splitlines()[0]
    exercise("run", "2.3")
    assert "its task" not in capsys.readouterr().out
    assert exercise("predict", "2.3", "5") == 0
    assert capsys.readouterr().out == "Noted: 5 apples. The first pass shows the tests' number.\n"


def test_a_reader_that_has_enough_ends_the_command_quietly() -> None:
    """As `| head` does: the other end of the pipe is closed before anything is written."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as closed:
        argv = (sys.executable, "-m", "llm_course", "exercise", "solution", "2.3")
        done = subprocess.run(argv, stdout=closed, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_last_one_opened_is_meant(capsys: pytest.CaptureFixture[str]) -> None:
    exercise("predict", "2.4", "1,000")
    assert exercise("solution") == 0
    assert "return 2 * number" in capsys.readouterr().out
    assert exercise("predict", "2.4", "7") == 1
    assert capsys.readouterr().err == "lab: you predicted 1000 apples; a prediction stays as it was made\n"


@pytest.mark.parametrize(
    ("words", "status", "line"),
    [
        (("fly",), 2, "lab: argument ACTION: invalid choice: 'fly'"),
        (("run", "9.9"), 2, "lab: there is no exercise '9.9'; there are 2.3, 2.4"),
        (("run", "4.5"), 2, "lab: exercise 4.5 is the fault lab; ./lab fault list"),
        (("4.5",), 2, "lab: exercise 4.5 is the fault lab; ./lab fault list"),
        (("run", "2.3", "--subject", "wrong/none"), 1, "lab: "),
        (("predict", "2.3", "many"), 1, "lab: 'many' is no number"),
        (("diff", "2.4"), 1, "lab: exercise 2.4 is not begun; ./lab exercise 2.4"),
        (("edit", "2.3"), 2, "lab: exercise 2.3 is no part of the engine"),
        (("edit", "nothing.py"), 2, "lab: the engine has no module 'nothing.py'"),
        (("edit", "engine.py", "--back"), 2, "lab: 'engine.py' is no module of your engine; yours are: none"),
        (("verify", "2.9"), 2, "lab: there is no exercise '2.9'"),
    ],
)
def test_wrong_input_is_one_line(
    words: tuple[str, ...], status: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exercise(*words) == status
    said = capsys.readouterr().err
    assert said.startswith(line)
    assert said.count("\n") == 1


def test_help_is_the_exercises_own(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["--help"], ["run", "--help"]):
        with pytest.raises(SystemExit) as ended:
            exercise(*words)
        assert ended.value.code == 0
        assert capsys.readouterr().out.startswith("usage: ./lab exercise")


def test_the_engine_of_the_learner(capsys: pytest.CaptureFixture[str], learn: Path) -> None:
    assert exercise("edit", "scheduler/policies.py") == 0
    assert exercise("edit") == 0
    assert exercise("engine") == 0
    assert capsys.readouterr().out.splitlines() == [
        "engine/llm_engine/scheduler/policies.py", "scheduler/policies.py", str(learn / ".engine")
    ]  # fmt: skip


def test_verify_writes_pages_and_then_holds(capsys: pytest.CaptureFixture[str], course: Path) -> None:
    assert exercise("verify", "2.3") == 1
    said = capsys.readouterr()
    assert said.out == "2.3 page: task.md shows what the tests no longer print; ./lab exercise verify --write\n"
    assert said.err == "lab: 1 gates do not hold\n"
    assert exercise("verify", "2.3", "--write") == 0
    assert "1 exercises, 3 wrong solutions: every gate holds" in capsys.readouterr().out
