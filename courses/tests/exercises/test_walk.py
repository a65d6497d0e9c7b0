"""A learner's walk through two exercises, at a real terminal: fail, hint, predict, pass, next, reset, upgrade.

Each step waits for the words that show it was taken; nothing sleeps.
"""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from llm_course.exercises.exercise import FOLDER_VARIABLE, find
from llm_course.exercises.session import State, state
from llm_course.exercises.subject import SOLUTION, Subject
from llm_course.exercises.work import Work
from llm_course.progress.log import Log

Edit = Callable[[str, str, str], None]
DEADLINE = 120.0
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


class Terminal:
    """`./lab exercise` on a pseudo-terminal."""

    def __init__(self, *arguments: str) -> None:
        self._master, theirs = pty.openpty()
        command = [sys.executable, "-m", "llm_course", "exercise", *arguments]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "COLUMNS": "200", "TERM": "xterm"}
        self.process = subprocess.Popen(
            command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, start_new_session=True
        )
        os.close(theirs)
        self._unread = ""

    def expect(self, text: str) -> str:
        """Read until `text` has come, and return what came before it."""
        end = time.monotonic() + DEADLINE
        while text not in self._unread:
            assert time.monotonic() < end, f"no {text!r} in {self._unread!r}"
            if select.select([self._master], [], [], 1.0)[0]:
                self._unread += ESCAPES.sub("", self._read())
        before, _, self._unread = self._unread.partition(text)
        return before

    def press(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._master)

    def _read(self) -> str:
        try:
            return os.read(self._master, 65536).decode().replace("\r\n", "\n")
        except OSError:  # the other end is closed
            raise AssertionError(f"the program has ended; it said {self._unread!r}") from None


@pytest.fixture
def learn(tmp_path: Path, course: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("COURSE_LEARN", str(tmp_path / "learn"))
    monkeypatch.setenv(FOLDER_VARIABLE, str(course.parent))
    return tmp_path / "learn"


@pytest.fixture
def start(learn: Path) -> Iterator[Callable[..., Terminal]]:
    started: list[Terminal] = []

    def start_one(*arguments: str) -> Terminal:
        started.append(Terminal(*arguments))
        return started[-1]

    yield start_one
    for terminal in started:
        terminal.close()


def write(file: Path, old: str, new: str) -> None:
    """Save as editors do: a new file in the place of the old one."""
    text = file.read_text()
    assert old in text
    saved = file.with_suffix(".swp")
    saved.write_text(text.replace(old, new))
    saved.replace(file)


def test_the_walk(start: Callable[..., Terminal], learn: Path, edit: Edit) -> None:
    terminal = start()
    ask_and_hint(terminal)
    mine = learn / "2.3" / "doubling.py"
    fail_then_pass(terminal, mine)
    passed = mine.read_text()
    go_on_and_reset(terminal, learn / "2.4" / "again.py")
    terminal.press("q")
    assert terminal.process.wait(DEADLINE) == 0

    assert mine.read_text() == passed
    assert [path.read_text() for path in (learn / ".history").rglob("*.py")] == [passed]
    assert ["return 'mine'" in path.read_text() for path in (learn / ".trash").rglob("*.py")] == [True]
    log = Log(learn / "progress.jsonl")
    names = [event.facts["event"] for event in log.of("exercise", "2.3")]
    assert list(dict.fromkeys(names)) == ["started", "failed", "predicted", "hint", "passed"]
    assert names.count("hint") == 1
    assert [event.facts["actual"] for event in log.of("prediction", "2.3")] == [6]

    edit("solution.py", '"""Return twice the number."""', '"""Return two times the number."""')
    upgraded = start("2.3")
    upgraded.expect("The starter has changed since you began: ./lab exercise diff 2.3")
    upgraded.expect("✓ all 3 tests pass")
    assert mine.read_text() == passed


def ask_and_hint(terminal: Terminal) -> None:
    terminal.expect("2.3  Double and half")
    terminal.expect("What is twice three?")
    terminal.press("seven\n")
    terminal.expect("'seven' is no number; p asks again")
    terminal.expect("not written yet: two times the number")
    terminal.expect("q quit")
    terminal.press("p")
    terminal.expect("apples: ")
    terminal.press("7\n")
    terminal.press("\x1b[H\x1bORä")  # Home, F3 and a key without a meaning
    terminal.press("h")
    terminal.expect("hint 1")
    terminal.expect("look above")


def fail_then_pass(terminal: Terminal, mine: Path) -> None:
    write(mine, 'raise NotImplementedError("two times the number")', "return number + 2")
    terminal.expect("expected  6")
    terminal.expect("got       5")
    terminal.expect("q quit")
    write(mine, "return number + 2", "return number + number")
    terminal.expect("1 of 3 tests pass so far")
    terminal.expect("q quit")
    write(mine, "return 0", "return number // 2")
    terminal.expect("✓ all 3 tests pass")
    terminal.expect("you predicted 7 apples; it is 6")
    assert "2.4" not in terminal.expect("n goes on to the next exercise"), "it does not go on by itself"


def go_on_and_reset(terminal: Terminal, second: Path) -> None:
    terminal.press("n")
    terminal.expect("2.4  Double and half")
    terminal.expect("apples: ")
    terminal.press("\n")
    terminal.expect("q quit")
    terminal.press("n")
    terminal.expect("Every other exercise has passed.")
    terminal.press("s")
    terminal.expect("s again shows it")
    terminal.press("s")
    terminal.expect("return 2 * number")
    write(second, "return 0", "return 'mine'")
    terminal.expect("q quit")
    terminal.press("r")
    terminal.expect("your work is in")
    terminal.expect("q quit")
    assert "return 0" in second.read_text()


def test_an_exercise_of_the_course_passes(
    start: Callable[..., Terminal], learn: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first of module 2 whose tests take a second: its starter fails, and its solution, saved, passes."""
    monkeypatch.delenv(FOLDER_VARIABLE)
    exercise = find("2.2")
    terminal = start("2.2")
    terminal.expect("2.2  Where the KV memory goes")
    if exercise.facts.prediction is not None:
        terminal.expect(f"{exercise.facts.prediction.unit}: ")
        terminal.press("1\n")
    terminal.expect("not written yet: ")
    terminal.expect("q quit")
    Work(learn).file(exercise).write_text(Subject(exercise, SOLUTION).text())
    terminal.expect("tests pass (")
    terminal.expect("n goes on to the next exercise")
    terminal.press("q")
    assert terminal.process.wait(DEADLINE) == 0
    assert state(Log(learn / "progress.jsonl"), "2.2") is State.PASSED


def test_without_a_terminal_it_says_so(learn: Path) -> None:
    command = [sys.executable, "-m", "llm_course", "exercise", "2.3"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=environment, check=False
    )
    assert (done.returncode, done.stderr) == (
        1, "lab: the watch loop needs a terminal; ./lab exercise run 2.3 runs the tests once\n"
    )  # fmt: skip
