"""A quiz file to a quiz: figures filled in, variants drawn, and one error line for each thing that is wrong."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from llm_course.errors import CourseError
from llm_course.paths import COURSES
from llm_course.prose import figures
from llm_course.quiz import recorded
from llm_course.quiz.questions import AnyQuestion, Number, Quiz
from llm_course.quiz.variants import Variant, variants

NAME = "quiz.yaml"


@dataclass(frozen=True, slots=True)
class Bank:
    """A module's questions, ready to be asked."""

    quiz: Quiz
    folder: Path
    variants: dict[str, list[Variant]]
    """Question id -> its drawn forms; number and trace questions only."""
    excerpts: dict[str, str]
    """Question id -> the part of a trace that is shown, in Markdown."""

    @property
    def module(self) -> int:
        return self.quiz.module

    @property
    def questions(self) -> list[AnyQuestion]:
        return self.quiz.questions


def banks(courses: Path = COURSES) -> list[Bank]:
    """Read every module's quiz."""
    return [read(path) for path in sorted(courses.glob(f"[0-9][0-9]-*/{NAME}"))]


def bank_of(module: int, courses: Path = COURSES) -> Bank:
    for path in courses.glob(f"{module:02}-*/{NAME}"):
        return read(path)
    there = ", ".join(str(int(path.parent.name[:2])) for path in sorted(courses.glob(f"[0-9][0-9]-*/{NAME}")))
    raise CourseError(f"module {module} has no quiz; these have one: {there}")


def read(path: Path) -> Bank:
    """Read a quiz file; CourseError lists everything that is wrong with it."""
    quiz = parse(path.read_text(encoding="utf-8"), str(path))
    if not path.parent.name.startswith(f"{quiz.module:02}-"):
        raise CourseError(f"{path}: says module {quiz.module}, and lies in {path.parent.name}")
    drawn: dict[str, list[Variant]] = {}
    excerpts: dict[str, str] = {}
    for question in quiz.questions:
        if not isinstance(question, Number):
            continue
        trace = None
        if question.trace is not None and question.steps is not None:
            trace = recorded.read(question.trace, question.steps)
            excerpts[question.id] = trace.excerpt()
        try:
            drawn[question.id] = variants(question, trace.functions if trace else None)
        except CourseError as error:
            raise CourseError(f"{path}: {error}") from None
    return Bank(quiz, path.parent, drawn, excerpts)


def parse(text: str, source: str) -> Quiz:
    """Check a quiz's text and fill its figures in; `source` names it in errors."""
    try:
        fields = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise CourseError(f"{source}: no YAML ({error})") from None
    if not isinstance(fields, dict):
        raise CourseError(f"{source}: a quiz has `module` and `questions`")
    values = figures.table(fields.get("figures") or {})
    try:
        return Quiz.model_validate(_filled(fields, values))
    except ValidationError as error:
        lines = [f"{source}: {_where(fields, each['loc'])}: {each['msg']}" for each in error.errors()]
        raise CourseError("\n".join(lines)) from None


def _filled(value: Any, values: dict[str, str]) -> Any:
    """Put figures into every text but the table of figures itself."""
    if isinstance(value, str):
        return figures.fill(value, values)
    if isinstance(value, list):
        return [_filled(each, values) for each in value]
    if isinstance(value, dict):
        return {key: each if key == "figures" else _filled(each, values) for key, each in value.items()}
    return value


def _where(fields: dict[str, Any], place: tuple[int | str, ...]) -> str:
    """Return `question evict-forgets, options 2, why` for pydantic's path to a field."""
    if len(place) < 2 or place[0] != "questions" or not isinstance(place[1], int):
        return ", ".join(map(str, place)) or "the quiz"
    question = fields["questions"][place[1]]
    name = question.get("id") if isinstance(question, dict) else None
    kind = question.get("kind") if isinstance(question, dict) else None
    rest = [str(part + 1 if isinstance(part, int) else part) for part in place[2:] if part != kind]
    return ", ".join([f"question {name or place[1] + 1}", *rest])
