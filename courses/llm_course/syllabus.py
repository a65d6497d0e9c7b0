"""The outline as data: courses/syllabus.yaml, read once and checked.

module 2            2, "02-core-concepts"
topic 5 of it       "T2.5"
exercise 5 of it    "2.5"
criterion 3 of it   "2/3", as in the progress log
a deliverable       "2/block-manager"
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import yaml

from llm_course.errors import CourseError
from llm_course.paths import COURSES

FILE = COURSES / "syllabus.yaml"

Range = tuple[float, float]
"""The least and the most, in hours or in minutes."""
T = TypeVar("T")
D = TypeVar("D")


class SyllabusError(CourseError):
    """The file of the syllabus breaks a rule; the message names the place and the rule."""


@dataclass(frozen=True, slots=True)
class Share:
    """A part of a module and the hours that the outline gives it."""

    part: str
    hours: Range


@dataclass(frozen=True, slots=True)
class Topic:
    module: int
    number: int
    title: str

    @property
    def name(self) -> str:
        """Return "T2.5", which no exercise is called."""
        return f"T{self.module}.{self.number}"


@dataclass(frozen=True, slots=True)
class Exercise:
    number: str
    """As in the outline: "2.5"."""
    title: str


@dataclass(frozen=True, slots=True)
class Goal:
    """A success criterion or a deliverable of a module: something to tick off."""

    key: str
    """As in the progress log: "2/3" for a criterion, "2/block-manager" for a deliverable."""
    text: str


@dataclass(frozen=True, slots=True)
class Project:
    """A capstone of module 7."""

    number: str
    title: str
    objective: str
    requirements: tuple[str, ...]
    criteria: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Section:
    """A titled list: question categories, assessments, resources."""

    title: str
    points: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Stage:
    part: str
    minutes: Range | None


@dataclass(frozen=True, slots=True)
class Mock:
    """The script of a mock interview."""

    title: str
    minutes: Range
    stages: tuple[Stage, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    number: int
    slug: str
    title: str
    hours: Range
    pass_mark: int | None
    """Per cent of the module's quiz; None where the outline asks for no quiz score."""
    objectives: tuple[str, ...]
    prerequisites: tuple[str, ...]
    time: tuple[Share, ...]
    topics: tuple[Topic, ...]
    exercises: tuple[Exercise, ...]
    projects: tuple[Project, ...]
    interview: tuple[Section, ...]
    mocks: tuple[Mock, ...]
    practice: tuple[str, ...]
    criteria: tuple[Goal, ...]
    deliverables: tuple[Goal, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Syllabus:
    title: str
    audience: str
    hours: Range
    focus: tuple[str, ...]
    philosophy: str
    modules: tuple[Module, ...]
    assessment: tuple[Section, ...]
    final_pass_mark: int
    success: tuple[Section, ...]
    resources: tuple[Section, ...]
    pace: tuple[str, ...]
    next_steps: tuple[str, ...]

    def module(self, number: int) -> Module:
        """Return the module of this number; SyllabusError if there is none."""
        for module in self.modules:
            if module.number == number:
                return module
        raise SyllabusError(f"there is no module {number}; there are 1 to {len(self.modules)}")

    def exercise(self, number: str) -> Exercise:
        """Return the exercise that the outline calls by this number; SyllabusError if there is none."""
        for module in self.modules:
            for exercise in module.exercises:
                if exercise.number == number:
                    return exercise
        raise SyllabusError(f"there is no exercise {number!r} in the syllabus")


@cache
def load(file: Path = FILE) -> Syllabus:
    """Read and check the syllabus; SyllabusError if it breaks a rule."""
    try:
        return _syllabus(_Place("", yaml.safe_load(file.read_text(encoding="utf-8"))))
    except yaml.YAMLError as error:
        raise SyllabusError(f"{file}: {error}") from None


class _Place:
    """A mapping of the file and where it stands, for messages."""

    def __init__(self, name: str, fields: Any) -> None:
        self.name = name
        if not isinstance(fields, Mapping):
            raise SyllabusError(f"{name or 'the syllabus'}: a mapping is needed, not {fields!r}")
        self._fields = dict(fields)

    def take(self, key: str, read: Callable[[str, Any], T]) -> T:
        """Read a field that has to be there."""
        if key not in self._fields:
            raise SyllabusError(f"{self._at(key)} is missing")
        return read(self._at(key), self._fields.pop(key))

    def maybe(self, key: str, read: Callable[[str, Any], T], default: D) -> T | D:
        """Read a field, or return `default` if it is not there."""
        return self.take(key, read) if key in self._fields else default

    def end(self) -> None:
        """Refuse fields that were not read."""
        if self._fields:
            raise SyllabusError(f"{self._at(next(iter(self._fields)))} is unknown")

    def _at(self, key: str) -> str:
        return f"{self.name}.{key}" if self.name else key


def _syllabus(place: _Place) -> Syllabus:
    syllabus = Syllabus(
        title=place.take("title", _text),
        audience=place.take("audience", _text),
        hours=place.take("hours", _range),
        focus=place.take("focus", _texts),
        philosophy=place.take("philosophy", _text),
        modules=place.take("modules", _each(_module)),
        assessment=place.take("assessment", _each(_section)),
        final_pass_mark=place.take("final_pass_mark", _number),
        success=place.take("success", _each(_section)),
        resources=place.take("resources", _each(_section)),
        pace=place.take("pace", _texts),
        next_steps=place.take("next_steps", _texts),
    )
    place.end()
    _is_counted("modules", [str(module.number) for module in syllabus.modules])
    return syllabus


def _module(place: _Place) -> Module:
    number = place.take("number", _number)
    module = Module(
        number=number,
        slug=place.take("slug", _text),
        title=place.take("title", _text),
        hours=place.take("hours", _range),
        pass_mark=place.take("pass_mark", lambda at, value: None if value is None else _number(at, value)),
        objectives=place.take("objectives", _texts),
        prerequisites=place.take("prerequisites", _texts),
        time=place.take("time", _each(_share)),
        topics=tuple(Topic(number, *each) for each in enumerate(place.maybe("topics", _texts, ()), 1)),
        exercises=place.maybe("exercises", _each(_exercise), ()),
        projects=place.maybe("projects", _each(_project), ()),
        interview=place.maybe("interview", _each(_category), ()),
        mocks=place.maybe("mocks", _each(_mock), ()),
        practice=place.maybe("practice", _texts, ()),
        criteria=tuple(Goal(f"{number}/{at}", text) for at, text in enumerate(place.take("criteria", _texts), 1)),
        deliverables=place.take("deliverables", _each(lambda each: _deliverable(number, each))),
    )
    place.end()
    if not module.slug.startswith(f"{number:02}-"):
        raise SyllabusError(f"{place.name}.slug: {module.slug!r} does not begin with {number:02}-")
    _is_counted(f"{place.name}.exercises", [each.number for each in module.exercises], f"{number}.")
    _is_counted(f"{place.name}.projects", [each.number for each in module.projects], f"{number}.")
    return module


def _share(place: _Place) -> Share:
    return _whole(place, Share(place.take("part", _text), place.take("hours", _range)))


def _exercise(place: _Place) -> Exercise:
    return _whole(place, Exercise(place.take("number", _text), place.take("title", _text)))


def _deliverable(module: int, place: _Place) -> Goal:
    return _whole(place, Goal(f"{module}/{place.take('slug', _text)}", place.take("text", _text)))


def _project(place: _Place) -> Project:
    project = Project(
        number=place.take("number", _text),
        title=place.take("title", _text),
        objective=place.take("objective", _text),
        requirements=place.take("requirements", _texts),
        criteria=place.take("criteria", _texts),
    )
    return _whole(place, project)


def _section(place: _Place) -> Section:
    return _whole(place, Section(place.take("title", _text), place.take("points", _texts)))


def _category(place: _Place) -> Section:
    return _whole(place, Section(place.take("title", _text), place.take("questions", _texts)))


def _mock(place: _Place) -> Mock:
    stages = place.take("stages", _each(_stage))
    return _whole(place, Mock(place.take("title", _text), place.take("minutes", _range), stages))


def _stage(place: _Place) -> Stage:
    return _whole(place, Stage(place.take("part", _text), place.maybe("minutes", _range, None)))


def _whole(place: _Place, value: T) -> T:
    place.end()
    return value


def _each(read: Callable[[_Place], T]) -> Callable[[str, Any], tuple[T, ...]]:
    def read_all(at: str, value: Any) -> tuple[T, ...]:
        return tuple(read(_Place(f"{at}[{index}]", each)) for index, each in enumerate(_list(at, value), 1))

    return read_all


def _texts(at: str, value: Any) -> tuple[str, ...]:
    texts = tuple(_text(f"{at}[{index}]", each) for index, each in enumerate(_list(at, value), 1))
    if len(set(texts)) != len(texts):
        raise SyllabusError(f"{at}: an entry stands there twice")
    return texts


def _list(at: str, value: Any) -> list[Any]:
    if not isinstance(value, list) or not value:
        raise SyllabusError(f"{at}: a list with at least one entry is needed, not {value!r}")
    return value


def _text(at: str, value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise SyllabusError(f"{at}: text is needed, not {value!r}")
    return value.strip()


def _number(at: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= 100:
        raise SyllabusError(f"{at}: a whole number from 1 to 100 is needed, not {value!r}")
    return value


def _range(at: str, value: Any) -> Range:
    match value:
        case [int() | float() as low, int() | float() as high] if 0 < low <= high:
            return (low, high)
    raise SyllabusError(f"{at}: [least, most] is needed, not {value!r}")


def _is_counted(at: str, numbers: Sequence[str], prefix: str = "") -> None:
    expected = [f"{prefix}{index}" for index in range(1, len(numbers) + 1)]
    if list(numbers) != expected:
        raise SyllabusError(f"{at}: the numbers are {', '.join(numbers)}, not {', '.join(expected)}")
