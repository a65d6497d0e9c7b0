"""Pytest's hooks that note what comes of each test, for reports."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import pytest

from llm_course.exercises.exercise import of_test
from llm_course.exercises.failures import Comparison, describe
from llm_course.exercises.outcome import Failure, Outcome, Report, test_name
from llm_course.exercises.subject import Subject

PREDICTION = "prediction"
Collecting: TypeAlias = Generator[None, pytest.CollectReport, pytest.CollectReport]


@dataclass(frozen=True, slots=True)
class Plan:
    """The tests of one subject that are run: all, unless it says otherwise."""

    subject: Subject
    first: str | None = None
    """The test that is run before the others."""
    is_enough: Callable[[Sequence[Outcome]], bool] = lambda outcomes: False
    """Whether the tests that have run make the others needless."""


class Watcher:
    def __init__(self, plans: Sequence[Plan]) -> None:
        self._plans = {plan.subject.exercise.folder: plan for plan in plans}
        self._subjects = {folder: plan.subject for folder, plan in self._plans.items()}
        self._outcomes: dict[Path, list[Outcome]] = {folder: [] for folder in self._subjects}
        self._broken: dict[Path, Failure] = {}
        self._firsts = {plan.first for plan in plans}
        self._num_tests: Counter[Path] = Counter()
        self._compared = Comparison()

    def report(self, subject: Subject) -> Report:
        folder = subject.exercise.folder
        outcomes = tuple(self._outcomes[folder])
        return Report(
            number=subject.exercise.number,
            subject=subject.name,
            outcomes=outcomes,
            num_tests=self._num_tests[folder],
            broken=self._broken.get(folder),
            seconds=sum(outcome.seconds for outcome in outcomes),
        )

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_make_collect_report(self, collector: pytest.Collector) -> Collecting:
        report = yield
        folder = of_test(collector.path) if report.failed and isinstance(collector, pytest.Module) else None
        if folder in self._subjects:
            last = str(report.longrepr).strip().splitlines()[-1]
            self._broken[folder] = Failure(error="ImportError", message=last.removeprefix("E").strip())
        return report

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        self._num_tests.update(folder for item in items if (folder := of_test(item.path)))
        items.sort(key=lambda item: test_name(name_of(item)) not in self._firsts)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> bool | None:
        """Return True for a test that need not run."""
        folder = of_test(item.path)
        return True if folder in self._plans and self._plans[folder].is_enough(self._outcomes[folder]) else None

    def pytest_assertrepr_compare(self, op: str, left: object, right: object) -> None:
        """Note the sides of a comparison that fails; pytest explains it as always."""
        sides = (_shown(left), _shown(right)) if op == "==" else (None, None)
        self._compared.got, self._compared.expected = sides

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        folder = of_test(item.path)
        if folder in self._subjects and (call.when == "call" or call.excinfo is not None):
            self._outcomes[folder].append(self._outcome(item, call, self._subjects[folder], report.capstdout))
            self._compared = Comparison()
        return report

    def _outcome(self, item: pytest.Item, call: pytest.CallInfo[None], subject: Subject, printed: str) -> Outcome:
        error = None if call.excinfo is None else call.excinfo.value
        return Outcome(
            test=name_of(item),
            contract=_contract(item),
            seconds=call.duration,
            failure=None if error is None else describe(error, subject, self._compared, printed),
            prediction=next((float(str(value)) for name, value in item.user_properties if name == PREDICTION), None),
        )


def name_of(item: pytest.Item) -> str:
    """Return the function's name with its parameters; a state machine's is its class."""
    return item.parent.name if item.name == "runTest" and item.parent is not None else item.name


def _contract(item: pytest.Item) -> str:
    """Return the first sentence of the docstring, of a state machine that of the machine."""
    described = getattr(item, "function", None)
    if item.name == "runTest" and isinstance(item.parent, pytest.Class):
        described = item.parent.obj
    text = inspect.cleandoc(getattr(described, "__doc__", None) or "")
    return " ".join(text.partition("\n\n")[0].split()) or item.name.removeprefix("test_").replace("_", " ")


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 300 else f"{text[:297]}…"
