"""Pytest's hooks for tests of exercises; courses/conftest.py takes them over.

While a test file is imported, and while one of its tests runs, `exercise` is the subject: the one that `assign` says,
else COURSE_SUBJECT's, else the solution.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Generator, Iterable
from contextlib import ExitStack
from pathlib import Path

import pytest

from llm_course.exercises.exercise import of_test, read
from llm_course.exercises.subject import SOLUTION, SUBJECT_VARIABLE, Active, Subject

_active: dict[Path, Active] = {}


def assign(subjects: Iterable[Active]) -> None:
    """Say what the tests of each subject's exercise see from now on."""
    _active.clear()
    _active.update({each.subject.exercise.folder: each for each in subjects})


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    active = _of(collector.path) if isinstance(collector, pytest.Module) else None
    if active is None:
        return (yield)
    with ExitStack() as stack:
        try:
            stack.enter_context(active.inside())
        except Exception:  # noqa: BLE001 - whatever the subject raises, its tests cannot be collected
            return pytest.CollectReport(collector.nodeid, "failed", traceback.format_exc(), [])
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    active = _of(item.path)
    if active is None:
        return (yield)
    with active.inside():
        return (yield)


def _of(test: Path) -> Active | None:
    folder = of_test(test)
    if folder is not None and folder not in _active:
        _active[folder] = Active(Subject(read(folder), os.environ.get(SUBJECT_VARIABLE, SOLUTION)))
    return None if folder is None else _active[folder]
