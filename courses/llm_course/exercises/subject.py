"""The file that tests see as `exercise`, by COURSE_EXERCISE and COURSE_SUBJECT.

solution       what the course ships; the default
starter        what a learner begins with
learner        what the learner has made of it, in learn/
wrong/NAME     the solution with one mistake
"""

from __future__ import annotations

import atexit
import importlib
import importlib.abc
import importlib.util
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from llm_course import paths
from llm_course.errors import CourseError, UsageError
from llm_course.exercises import overlay, regions
from llm_course.exercises.exercise import Exercise, find
from llm_course.exercises.graft import graft

SOLUTION, STARTER, LEARNER = "solution", "starter", "learner"
MODULE = "exercise"
EXERCISE_VARIABLE, SUBJECT_VARIABLE = "COURSE_EXERCISE", "COURSE_SUBJECT"


@dataclass(frozen=True, slots=True)
class Subject:
    exercise: Exercise
    name: str

    @property
    def file(self) -> Path | None:
        """The learner's file; the others are made from the solution when they are needed."""
        return learner_file(self.exercise) if self.name == LEARNER else None

    @property
    def shown_as(self) -> str:
        return str(self.file or f"exercise {self.exercise.number}, {self.name}")

    def text(self) -> str:
        """Return the Python source; CourseError if the exercise or the learner has no such file."""
        if self.file is not None:
            try:
                return self.file.read_text(encoding="utf-8")
            except OSError as error:
                raise CourseError(f"{self.file}: {error.strerror}; ./lab exercise {self.exercise.number}") from None
        marked = marked_solution(self.exercise)
        if self.name == STARTER:
            return regions.starter(marked)
        solution = regions.without_marks(marked)
        if self.name == SOLUTION:
            return solution
        return graft(solution, self._wrong().read_text(encoding="utf-8"))

    def _wrong(self) -> Path:
        path = self.exercise.folder / f"{self.name}.py"
        if not self.name.startswith("wrong/") or not path.exists():
            raise UsageError(f"exercise {self.exercise.number} has no {self.name!r}")
        return path


def marked_solution(exercise: Exercise) -> str:
    """Return the whole solution with its regions: solution.py, or the engine's module with what it changes there."""
    text = exercise.solution.read_text(encoding="utf-8")
    module = engine_file(exercise)
    try:
        return text if module is None else graft(module.read_text(encoding="utf-8"), text, may_add=True)
    except CourseError as error:
        raise CourseError(f"{exercise.solution}: {error}") from None


def engine_file(exercise: Exercise) -> Path | None:
    """Return the file of the engine that the exercise changes; None if the exercise is a file of its own."""
    name = exercise.facts.engine_module
    path = None if name is None else overlay.ENGINE / name
    return path if path is not None and path.exists() else None


def learner_file(exercise: Exercise, learn: Path | None = None) -> Path:
    learn = paths.LEARN if learn is None else learn
    if engine_file(exercise) is not None and exercise.facts.engine_module is not None:
        return learn / "engine" / overlay.PACKAGE / exercise.facts.engine_module
    return learn / exercise.number / exercise.file_name


def engine_modules(subject: Subject) -> dict[str, Path | str]:
    """Return the modules of the engine that the subject replaces, and those that the exercise puts around it."""
    name, given = subject.exercise.facts.engine_module, subject.exercise.folder / "engine"
    if name is None:
        return {}
    around: dict[str, Path | str] = {str(path.relative_to(given)): path for path in given.rglob("*.py")}
    return {**around, name: subject.file or subject.text()}


class Active:
    """Makes `import exercise` find one subject, and, if it belongs into the engine, the engine have it."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self._module: ModuleType | None = None
        self._engine: overlay.Engine | None = None
        if modules := engine_modules(subject):
            folder = Path(tempfile.mkdtemp(prefix="llm-course-"))
            atexit.register(shutil.rmtree, folder, ignore_errors=True)
            self._engine = overlay.Engine(overlay.build(folder, modules))

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Whatever the subject raises when it is imported comes out here."""
        before = {name: os.environ.get(name) for name in (EXERCISE_VARIABLE, SUBJECT_VARIABLE)}
        os.environ.update({EXERCISE_VARIABLE: self.subject.exercise.number, SUBJECT_VARIABLE: self.subject.name})
        other = sys.modules.pop(MODULE, None)
        try:
            if self._engine is None:
                self._put_in_place()
                yield
            else:
                with self._engine.active():
                    self._put_in_place()
                    yield
        finally:
            sys.modules.pop(MODULE, None)
            if other is not None:
                sys.modules[MODULE] = other
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value

    def _put_in_place(self) -> None:
        if self._module is None:
            self._module = load(self.subject)
        sys.modules[MODULE] = self._module


def load(subject: Subject) -> ModuleType:
    """Import the subject; for one that belongs into the engine, that engine is the one on the path."""
    if subject.exercise.facts.engine_module is not None:
        return importlib.import_module(overlay.module_name(subject.exercise.facts.engine_module))
    spec = importlib.util.spec_from_loader(MODULE, _Loader(subject.text(), subject.shown_as), origin=subject.shown_as)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    module.__file__ = subject.shown_as
    sys.modules[MODULE] = module  # dataclasses look their module up while it is executed
    spec.loader.exec_module(module)
    return module


def from_environment() -> ModuleType:
    """Import the subject that the environment names: a process that a test has spawned does."""
    number = os.environ.get(EXERCISE_VARIABLE)
    if number is None:
        raise UsageError(f"`import exercise` is for tests; {EXERCISE_VARIABLE} does not say which exercise is meant")
    return load(Subject(find(number), os.environ.get(SUBJECT_VARIABLE, SOLUTION)))


class _Loader(importlib.abc.InspectLoader):
    """A module of a text; `inspect` and tracebacks find its lines."""

    def __init__(self, text: str, path: str) -> None:
        self._text, self._path = text, path

    def get_source(self, fullname: str) -> str:
        return self._text

    def get_code(self, fullname: str):  # type: ignore[no-untyped-def]  # a code object, whose type is CPython's own
        return self.source_to_code(self._text, self._path)

    def is_package(self, fullname: str) -> bool:
        return False
