"""The loop at a terminal: save, and the tests run; a key, and it is done. It never goes on by itself."""

from __future__ import annotations

import os
import re
import select
import sys
import termios
import tty
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from llm_course.errors import CourseError
from llm_course.exercises.exercise import Exercise
from llm_course.exercises.report import describe_report
from llm_course.exercises.session import Session, after
from llm_course.exercises.work import Work
from llm_course.progress.log import Log

POLL_SECONDS = 0.2
SPECIAL_KEY = re.compile(r"\x1b(\[[0-9;]*|O)?.?")
"""An arrow, Home, F3: several characters, the last of which is a letter."""
KEYS = "n next · h hint · s solution · r reset · p predict · q quit"


class Watch:
    """`console`: where all of it is written."""

    def __init__(self, console: Console, exercises: Sequence[Exercise], work: Work, log: Log) -> None:
        self._console = console
        self._exercises = exercises
        self._work = work
        self._log = log
        self._asked_for_solution = False
        self._typed = ""
        self._graded: tuple[int, int, int] | None = None

    def run(self, exercise: Exercise) -> None:
        """Watch until q; CourseError if there is no terminal."""
        if not sys.stdin.isatty():
            raise CourseError("the watch loop needs a terminal; ./lab exercise run 2.3 runs the tests once")
        with _keys() as keys:
            self._open(exercise)
            while (event := self._next_event(keys)) != "q":
                self._handle(event)

    def _next_event(self, keys: int) -> str:
        """Wait for a key, or for the file to differ from the one that was graded: "save"."""
        while True:
            if self._typed:
                key, self._typed = self._typed[0], self._typed[1:]
                return key
            if select.select([keys], [], [], POLL_SECONDS)[0]:
                read = os.read(keys, 64)
                if not read:
                    return "q"  # the terminal is gone
                self._typed = SPECIAL_KEY.sub("", read.decode(errors="ignore")).lower()
            elif _signature(self._file) not in (None, self._graded):
                return "save"

    @property
    def _file(self) -> Path:
        return self._work.file(self._session.exercise)

    def _open(self, exercise: Exercise) -> None:
        self._session = Session(exercise, self._work, self._log)
        self._asked_for_solution = False
        facts = exercise.facts
        self._say(f"\n[bold]{exercise.number}  {facts.title}[/]  ({facts.path}, about {facts.hours:g} h)")
        self._say(f"task  {_short(exercise.folder / 'task.md')}")
        self._say(f"file  {_short(self._file)}")
        if self._work.starter_has_changed(exercise):
            self._say(f"The starter has changed since you began: ./lab exercise diff {exercise.number}")
        self._ask()
        self._grade()

    def _handle(self, event: str) -> None:
        """Do what a key or a save asks for."""
        again, self._asked_for_solution = self._asked_for_solution, False
        if event == "save":
            self._grade()
        elif event == "h":
            level, text = self._session.hint()
            self._say(f"\n[bold]hint {level}[/]")
            self._console.print(text, markup=False, highlight=False)
        elif event == "s" and not again:
            self._asked_for_solution = True
            self._say("\nThe log will say that you read the solution. s again shows it.")
        elif event == "s":
            self._console.print(self._session.solution(), markup=False, highlight=False)
        elif event == "r":
            self._say(f"\n{self._session.reset()}")
            self._grade()
        elif event == "p":
            self._ask(again=True)
        elif event == "n":
            self._next()

    def _next(self) -> None:
        following = after(self._session.exercise, self._log, self._exercises)
        if following is None:
            self._say("\nEvery other exercise has passed.")
        else:
            self._open(following)

    def _grade(self) -> None:
        self._graded = _signature(self._file)
        with self._console.status("running the tests …"):
            report, predicted = self._session.run()
        self._console.print()
        text = describe_report(self._session.exercise, report)
        self._console.print(text, markup=False, highlight=False, style="green" if report.passed else "")
        if predicted is not None:
            self._say(f"[bold]{predicted}[/]")
        if report.passed:
            self._say("This version is kept. n goes on to the next exercise.")
        self._say(f"[dim]{KEYS}[/]")

    def _ask(self, again: bool = False) -> None:
        """Ask for the exercise's number if it has not been given; an empty answer leaves it open."""
        wanted = self._session.exercise.facts.prediction
        if not self._session.wants_prediction or wanted is None:
            if again:
                self._say("\nThere is nothing to predict, or you have done so.")
            return
        self._say(f"\n[bold]First your number.[/] {wanted.question}")
        try:
            with _lines():
                answer = self._console.input(f"{wanted.unit}: ").strip()
            if answer:
                self._session.predict(number(answer))
        except EOFError:  # Ctrl-D
            self._say("p asks again")
        except CourseError as error:
            self._say(f"{error}; p asks again")

    def _say(self, text: str) -> None:
        self._console.print(text, highlight=False)


def number(text: str) -> float:
    """Read a number as people write it; CourseError if it is none."""
    try:
        return float(text.replace(",", ""))
    except ValueError:
        raise CourseError(f"{text!r} is no number") from None


def _short(path: Path) -> str:
    return os.path.relpath(path)


def _signature(path: Path) -> tuple[int, int, int] | None:
    """Return what changes when a file is saved; None while an editor has it away."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


@contextmanager
def _keys() -> Iterator[int]:
    """Have the terminal hand over each key at once."""
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    tty.setcbreak(descriptor)
    try:
        yield descriptor
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


@contextmanager
def _lines() -> Iterator[None]:
    """Have the terminal edit a line again, whatever it does outside."""
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    lines = termios.tcgetattr(descriptor)
    lines[3] |= termios.ICANON | termios.ECHO
    termios.tcsetattr(descriptor, termios.TCSADRAIN, lines)
    try:
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
