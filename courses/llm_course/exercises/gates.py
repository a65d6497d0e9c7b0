"""Conditions that every exercise must meet; CI runs them, and `./lab exercise verify` does.

solution    passes every test, and finds the number that the prediction is about
starter     can be imported, and fails every test by AssertionError or NotImplementedError
wrong       each fails the test that it names, and passes another: it is a mistake, not a wreck
page        the task shows what the tests print
folder      number, page, hints, enough wrong solutions, as much to write as is said
syllabus    the outline has the exercise under its number

The subjects are run in waves: all solutions in one pytest session, all starters in the next, then every exercise's
first wrong one, and so on. Starting pytest and importing torch costs more than most tests.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path

import yaml

from llm_course.errors import CourseError
from llm_course.exercises import regions
from llm_course.exercises.exercise import HINTS, Exercise, Wrong, read
from llm_course.exercises.grading import grade
from llm_course.exercises.outcome import Outcome, Report
from llm_course.exercises.report import describe_outcome
from llm_course.exercises.subject import SOLUTION, STARTER, Subject
from llm_course.exercises.watcher import Plan
from llm_course.paths import COURSES, DOCS

SYLLABUS = COURSES / "syllabus.yaml"
FEWEST_WRONG = 3
LINES_TOLERANCE = 0.3
BLOCK = re.compile(r"^(<!-- tests: (\S+) -->\n).*?^(<!-- end of tests -->)", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Complaint:
    number: str
    gate: str
    text: str

    def __str__(self) -> str:
        return f"{self.number} {self.gate}: {self.text}"


@dataclass(slots=True)
class Verification:
    """All reports of some exercises, and what is wrong with them."""

    exercises: Sequence[Exercise]
    reports: dict[tuple[str, str], Report] = field(default_factory=dict)
    """By number and subject."""
    outline: Path = SYLLABUS
    docs: Path = DOCS

    def run(self) -> None:
        """Run every subject's tests, wave by wave."""
        for wave in _waves(self.exercises):
            for plan, report in zip(wave, grade(wave), strict=True):
                self.reports[plan.subject.exercise.number, plan.subject.name] = report

    def complaints(self) -> list[Complaint]:
        """Return what the gates find; empty if all is well."""
        return [
            Complaint(exercise.number, gate, text)
            for exercise in self.exercises
            for gate, check in GATES.items()
            for text in check(self, exercise)
        ]

    def of(self, exercise: Exercise, name: str) -> Report:
        return self.reports[exercise.number, name]

    def page(self, exercise: Exercise) -> tuple[str, str]:
        """Return the task as it is, and as it should be: each block shows the failure of its subject."""
        text = (exercise.folder / "task.md").read_text(encoding="utf-8")
        return text, BLOCK.sub(lambda block: block[1] + self._shown(exercise, block[2]) + block[3], text)

    def write_pages(self) -> list[Path]:
        """Bring the blocks of all tasks up to date, and return the files that changed."""
        changed = []
        for exercise in self.exercises:
            old, new = self.page(exercise)
            if old != new:
                changed.append(exercise.folder / "task.md")
                changed[-1].write_text(new, encoding="utf-8")
        return changed

    def _shown(self, exercise: Exercise, name: str) -> str:
        report = self.reports.get((exercise.number, name))
        if report is None:
            raise CourseError(f"{exercise.folder.name}/task.md: there is no subject {name!r} to show")
        outcome = report.first_failure
        return f"```text\n{'nothing' if outcome is None else describe_outcome(exercise, outcome)}\n```\n"


def _waves(exercises: Sequence[Exercise]) -> Iterator[list[Plan]]:
    yield [Plan(Subject(exercise, SOLUTION)) for exercise in exercises]
    yield [Plan(Subject(exercise, STARTER)) for exercise in exercises]
    plans = ([_plan(exercise, wrong) for wrong in exercise.wrong] for exercise in exercises)
    for wave in zip_longest(*plans):
        yield [plan for plan in wave if plan is not None]


def _plan(exercise: Exercise, wrong: Wrong) -> Plan:
    """The test that it names first, then others until one passes."""

    def is_enough(outcomes: Sequence[Outcome]) -> bool:
        return {outcome.passed for outcome in outcomes} == {True, False}

    return Plan(Subject(exercise, f"wrong/{wrong.name}"), wrong.test, is_enough)


def _solution(verification: Verification, exercise: Exercise) -> Iterator[str]:
    report = verification.of(exercise, SOLUTION)
    if report.broken is not None:
        yield f"it cannot be imported: {report.broken.message}"
    elif report.num_tests == 0:
        yield "it has no tests"
    for outcome in report.outcomes:
        if outcome.failure is not None:
            yield f"{outcome.test} fails: {outcome.failure.error}: {outcome.failure.message}"
    prediction = exercise.facts.prediction
    if prediction and not any(outcome.prediction is not None for outcome in report.of(prediction.actual)):
        yield f'{prediction.actual} notes no number: record_property("prediction", …)'


def _starter(verification: Verification, exercise: Exercise) -> Iterator[str]:
    report = verification.of(exercise, STARTER)
    if report.broken is not None:
        yield f"it cannot be imported: {report.broken.message}"
    for outcome in report.outcomes:
        if outcome.failure is None:
            yield f"{outcome.test} passes with nothing written"
        elif not outcome.failure.is_verdict:
            yield f"{outcome.test} fails by {outcome.failure.error}, which tells a learner nothing"


def _wrong(verification: Verification, exercise: Exercise) -> Iterator[str]:
    if len(exercise.wrong) < FEWEST_WRONG:
        yield f"{len(exercise.wrong)} wrong solutions; {FEWEST_WRONG} are needed"
    for wrong in exercise.wrong:
        report = verification.of(exercise, f"wrong/{wrong.name}")
        named = report.of(wrong.test)
        if report.broken is not None:
            yield f"{wrong.name} cannot be imported: {report.broken.message}"
        elif not named:
            yield f"{wrong.name} names {wrong.test}, which is no test of this exercise"
        elif all(outcome.passed for outcome in named):
            yield f"{wrong.name} passes {wrong.test}, which should notice it"
        elif not any(outcome.passed for outcome in report.outcomes):
            yield f"{wrong.name} passes no test at all, as no solution in good faith does"


def _page(verification: Verification, exercise: Exercise) -> Iterator[str]:
    old, new = verification.page(exercise)
    if BLOCK.search(old) is None:
        yield "task.md shows nothing of what the tests print: `<!-- tests: starter -->`"
    elif old != new:
        yield "task.md shows what the tests no longer print; ./lab exercise verify --write"


def _folder(verification: Verification, exercise: Exercise) -> Iterator[str]:
    facts, folder = exercise.facts, exercise.folder
    expected = f"{int(folder.parent.name[:2])}.{int(folder.name[2:4])}"
    if facts.number != expected or facts.module != int(expected[0]):
        yield f"exercise.toml says {facts.number}, module {facts.module}; the folder means {expected}"
    if len(exercise.hints) != HINTS:
        yield f"hints.md has {len(exercise.hints)} hints; {HINTS} headings `## …` are needed"
    lines = regions.lines_to_write(exercise.solution.read_text(encoding="utf-8"))
    if abs(lines - facts.lines) > LINES_TOLERANCE * facts.lines:
        yield f"the learner writes {lines} lines, and exercise.toml says {facts.lines}"
    page = verification.docs / facts.page
    if page.suffix != ".md" or (_is_written(page.parent) and not page.is_file()):
        yield f"page {facts.page!r} is no Markdown page below docs/"


def _is_written(module: Path) -> bool:
    """Return whether the module has pages; exercises can be there before them."""
    return any(page.name != "index.md" for page in module.glob("*.md"))


def _syllabus(verification: Verification, exercise: Exercise) -> Iterator[str]:
    outline = yaml.safe_load(verification.outline.read_text(encoding="utf-8"))
    listed = {
        str(each["number"]): module["number"] for module in outline["modules"] for each in module.get("exercises", ())
    }
    if listed.get(exercise.number) != exercise.facts.module:
        yield f"the syllabus has no exercise {exercise.number} in module {exercise.facts.module}"


GATES = {
    "solution": _solution,
    "starter": _starter,
    "wrong": _wrong,
    "page": _page,
    "folder": _folder,
    "syllabus": _syllabus,
}


def module_complaints(folder: Path) -> list[str]:
    """Return what the gates find in one module's folder; CourseError if it has no exercises."""
    exercises = [read(each) for each in sorted(folder.glob("ex[0-9][0-9]_*"))]
    if not exercises:
        raise CourseError(f"{folder} has no exercises")
    return [str(complaint) for complaint in verify(exercises).complaints()]


def verify(exercises: Iterable[Exercise]) -> Verification:
    """Run all subjects of the exercises."""
    verification = Verification(list(exercises))
    verification.run()
    return verification
