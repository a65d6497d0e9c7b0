"""A folder with one exercise.

courses/02-core-concepts/ex03_block_manager/
  exercise.toml    number, hours, topics, prediction: the fields of `Facts`
  task.md          the task; its blocks `<!-- tests: starter -->` hold what the tests print
  solution.py      the truth; `regions` makes the starter of it
  hints.md         three hints below `## 1`, `## 2`, `## 3`: where to look, the idea, almost the code
  wrong/*.py       plausible mistakes: only what is different from the solution (see `graft`)
  tests/test_*.py  `from exercise import BlockManager`
  engine/          for some: modules of the engine that the tests put around the subject
"""

from __future__ import annotations

import ast
import os
import re
import tomllib
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from llm_course.errors import CourseError, UsageError
from llm_course.paths import COURSES

FOLDER_VARIABLE = "COURSE_FOLDER"
"""Names another folder of modules: tests have small ones."""
FOLDERS = "[0-9][0-9]-*/ex[0-9][0-9]_*"
DIAGNOSIS = re.compile(r"Fails (\S+): (.+)", re.DOTALL)
HINTS = 3


class Prediction(BaseModel):
    """A number that the learner states before the first run."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str
    question: str
    unit: str
    actual: str
    """The test that finds the number and notes it: `record_property("prediction", number)`."""


class Facts(BaseModel):
    """The fields of exercise.toml."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    number: Annotated[str, Field(pattern=r"^\d\.\d$")]
    title: str
    module: int
    topics: tuple[int, ...]
    hours: Annotated[float, Field(gt=0, le=6)]
    lines: Annotated[int, Field(gt=0)]
    """About how many the learner writes; a gate holds the solution to it."""
    path: Literal["core", "stretch"]
    page: str
    """The page it belongs to, below docs/."""
    engine_module: str | None = None
    """Module of the engine that the subject becomes, below llm_engine/: `scheduler/scheduler.py`. If the engine has it,
    solution.py holds only what changes there."""
    prediction: Prediction | None = None


@dataclass(frozen=True, slots=True)
class Wrong:
    """A mistake that the tests must notice."""

    name: str
    path: Path
    test: str
    """The test that fails."""
    diagnosis: str


@dataclass(frozen=True, slots=True)
class Exercise:
    folder: Path
    facts: Facts

    @property
    def number(self) -> str:
        return self.facts.number

    @property
    def title(self) -> str:
        return self.facts.title

    @property
    def file_name(self) -> str:
        """Return `block_manager.py` for a folder `ex03_block_manager`."""
        return self.folder.name.partition("_")[2] + ".py"

    @property
    def solution(self) -> Path:
        return self.folder / "solution.py"

    @property
    def tests(self) -> list[Path]:
        return sorted((self.folder / "tests").glob("test_*.py"))

    @property
    def hints(self) -> list[str]:
        """Return the hints in order."""
        parts = re.split(r"^## \d+.*$", (self.folder / "hints.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
        return [part.strip() for part in parts[1:]]

    @property
    def wrong(self) -> list[Wrong]:
        return [_wrong(path) for path in sorted((self.folder / "wrong").glob("*.py"))]


def read(folder: Path) -> Exercise:
    """Read a folder; CourseError if its exercise.toml is not right."""
    path = folder / "exercise.toml"
    try:
        return Exercise(folder, Facts.model_validate(tomllib.loads(path.read_text(encoding="utf-8"))))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise CourseError(f"{path}: {error}") from None
    except ValidationError as error:
        first = error.errors()[0]
        raise CourseError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def read_all() -> list[Exercise]:
    """Return all exercises in the order of their numbers; CourseError if two have the same."""
    courses = Path(os.environ.get(FOLDER_VARIABLE, COURSES))
    exercises = sorted(map(read, courses.glob(FOLDERS)), key=lambda exercise: exercise.number)
    for one, other in pairwise(exercises):
        if one.number == other.number:
            raise CourseError(f"{one.folder.name} and {other.folder.name} are both exercise {one.number}")
    return exercises


def find(number: str, exercises: list[Exercise] | None = None) -> Exercise:
    """Return the exercise of this number; UsageError if there is none."""
    exercises = read_all() if exercises is None else exercises
    for exercise in exercises:
        if exercise.number == number:
            return exercise
    have = ", ".join(exercise.number for exercise in exercises)
    raise UsageError(f"there is no exercise {number!r}; there are {have or 'none yet'}")


def of_test(path: Path) -> Path | None:
    """Return the exercise's folder that a test file belongs to, if any."""
    parents = (folder for folder in path.parents if folder.name.startswith("ex"))
    return next((folder for folder in parents if (folder / "exercise.toml").exists()), None)


def _wrong(path: Path) -> Wrong:
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    found = DIAGNOSIS.fullmatch(text)
    if found is None:
        raise CourseError(f'{path}: its docstring must begin `"""Fails test_name: the mistake …`')
    return Wrong(path.stem, path, found[1], " ".join(found[2].split()))
