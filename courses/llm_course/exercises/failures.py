"""From an exception to what a learner should read of it."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from llm_course.exercises.outcome import Failure
from llm_course.exercises.subject import Subject

INTERNAL = ("You can reproduce this example", "Explanation:")
"""Beginnings of hypothesis's notes that do not help here."""


@dataclass(slots=True)
class Comparison:
    """The last one that pytest explained; when a test fails by an assertion, it is that assertion's."""

    got: str | None = None
    expected: str | None = None


def describe(error: BaseException, subject: Subject, compared: Comparison, printed: str = "") -> Failure:
    """Return the failure that the exception means; of a group the first one, with the types of all."""
    errors = list(_leaves(error))
    first = errors[0]
    is_comparison = isinstance(first, AssertionError)
    return Failure(
        error=", ".join(dict.fromkeys(type(each).__name__ for each in errors)),
        message=_message(first),
        got=compared.got if is_comparison else None,
        expected=compared.expected if is_comparison else None,
        line=_line(first, subject),
        test_line=_test_line(first, subject),
        example=_example(error) or _example(first),
        printed=printed,
    )


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from _leaves(each)
    else:
        yield error


def _message(error: BaseException) -> str:
    if isinstance(error, SyntaxError):
        return f"{error.msg}: {(error.text or '').strip()}"
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _line(error: BaseException, subject: Subject) -> int | None:
    """Return the innermost line of the subject's file that the error passed through."""
    if isinstance(error, SyntaxError):
        return error.lineno
    return next((line for path, line in reversed(_places(error)) if _is_of(path, subject)), None)


def _test_line(error: BaseException, subject: Subject) -> int | None:
    tests = {str(path) for path in subject.exercise.tests}
    return next((line for path, line in reversed(_places(error)) if path in tests), None)


def _places(error: BaseException) -> list[tuple[str, int]]:
    return [(frame.filename, frame.lineno or 0) for frame in traceback.extract_tb(error.__traceback__)]


def _is_of(path: str, subject: Subject) -> bool:
    """An overlay links to the learner's file, and holds the texts of other subjects."""
    module = subject.exercise.facts.engine_module
    return (
        path == subject.shown_as
        or (subject.file is not None and Path(path).resolve() == subject.file.resolve())
        or (module is not None and path.endswith(f"/llm_engine/{module}"))
    )


def _example(error: BaseException) -> str:
    notes = [note for note in getattr(error, "__notes__", ()) if not note.startswith(INTERNAL)]
    return "\n".join(notes).strip()
