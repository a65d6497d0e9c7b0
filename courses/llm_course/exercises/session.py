"""One learner at one exercise: what a key or a command does, and what the progress log keeps of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from llm_course.errors import CourseError, UsageError
from llm_course.exercises.exercise import HINTS, Exercise
from llm_course.exercises.grading import grade_apart
from llm_course.exercises.outcome import Report
from llm_course.exercises.subject import SOLUTION, Subject
from llm_course.exercises.work import Work
from llm_course.progress.log import Event, Log


class State(StrEnum):
    NEW = "new"
    STARTED = "started"
    PASSED = "passed"


@dataclass(frozen=True, slots=True)
class Predicted:
    """A prediction and what came of it."""

    predicted: float
    actual: float
    unit: str

    def __str__(self) -> str:
        return f"you predicted {self.predicted:g} {self.unit}; it is {self.actual:g}"


class Session:
    def __init__(
        self, exercise: Exercise, work: Work, log: Log, grade: Callable[[Exercise], Report] = grade_apart
    ) -> None:
        """Open the learner's file; the first time, put the starter there."""
        self.exercise = exercise
        self.work = work
        self._log = log
        self._grade = grade
        self.is_new = work.open(exercise)
        """Whether the learner's file was put there just now."""
        events = log.of("exercise")
        if not events or events[-1].key != exercise.number:
            self._add("started")

    def run(self) -> tuple[Report, Predicted | None]:
        """Run the tests; with the first pass comes what was predicted and what it is."""
        report = self._grade(self.exercise)
        if not report.passed:
            failed = report.first_failure
            self._add("failed", test=None if failed is None else failed.test, seconds=round(report.seconds, 2))
            return report, None
        self.work.keep(self.exercise)
        self._add("passed", seconds=round(report.seconds, 2))
        return report, self._resolve(report)

    @property
    def wants_prediction(self) -> bool:
        """Return whether a number is asked for and not given yet."""
        return self.exercise.facts.prediction is not None and self._prediction() is None

    def predict(self, number: float) -> None:
        """Keep the prediction; CourseError if there is one already: it was made before the answer was known."""
        wanted = self.exercise.facts.prediction
        if wanted is None:
            raise UsageError(f"exercise {self.exercise.number} asks for no prediction")
        if (before := self._prediction()) is not None:
            raise CourseError(f"you predicted {before:g} {wanted.unit}; a prediction stays as it was made")
        self._add("predicted", name=wanted.name, predicted=number)

    def hint(self) -> tuple[int, str]:
        """Return the next hint and its level from 1 on; the last one again if there are no more."""
        used = [event.facts.get("level", 0) for event in self._events("hint")]
        level = min(max(used, default=0) + 1, HINTS)
        if level not in used:
            self._add("hint", level=level)
        return level, self.exercise.hints[level - 1]

    def solution(self) -> str:
        self._add("solution")
        return Subject(self.exercise, SOLUTION).text()

    def reset(self) -> str:
        """Begin again from the starter, and return a line that says where the work is."""
        gone = self.work.reset(self.exercise)
        self._add("reset")
        return "back to the starter" if gone is None else f"back to the starter; your work is in {gone}"

    def test_out(self) -> str:
        """Skip the exercise's page; CourseError unless it was passed without a hint or the solution."""
        number, page = self.exercise.number, self.exercise.facts.page
        if self._events("hint", "solution"):
            raise CourseError(f"{number} does not stand for its page any more: a hint or the solution was read")
        if state(self._log, number) is not State.PASSED:
            report, _ = self.run()
            if not report.passed:
                raise CourseError(f"{number} does not pass yet; ./lab exercise {number} shows why")
        self._log.add("page", page, event="tested out", exercise=number)
        return f"passed without help: you can skip {page}"

    def _prediction(self) -> float | None:
        found = [event.facts["predicted"] for event in self._events("predicted")]
        return found[0] if found else None

    def _resolve(self, report: Report) -> Predicted | None:
        """Note the prediction together with the number that the tests found, once."""
        wanted, predicted = self.exercise.facts.prediction, self._prediction()
        if wanted is None or predicted is None or self._log.of("prediction", self.exercise.number):
            return None
        actual = next((o.prediction for o in report.of(wanted.actual) if o.prediction is not None), None)
        if actual is None:
            return None
        facts = {"name": wanted.name, "predicted": predicted, "actual": actual, "unit": wanted.unit}
        self._log.add("prediction", self.exercise.number, **facts)
        return Predicted(predicted, actual, wanted.unit)

    def _events(self, *names: str) -> list[Event]:
        return [event for event in self._log.of("exercise", self.exercise.number) if event.facts.get("event") in names]

    def _add(self, event: str, **facts: object) -> None:
        self._log.add("exercise", self.exercise.number, event=event, **facts)


def state(log: Log, number: str) -> State:
    events = {event.facts.get("event") for event in log.of("exercise", number)}
    return State.PASSED if "passed" in events else State.STARTED if events else State.NEW


def current(log: Log, exercises: Sequence[Exercise]) -> Exercise:
    """Return the exercise that was opened last, else the first; CourseError if there are none."""
    known = {exercise.number: exercise for exercise in exercises}
    opened = [e.key for e in log.of("exercise") if e.facts.get("event") == "started" and e.key in known]
    if not known:
        raise CourseError("there are no exercises")
    return known[opened[-1]] if opened else exercises[0]


def after(exercise: Exercise, log: Log, exercises: Sequence[Exercise]) -> Exercise | None:
    """Return the next exercise that has not passed, those of the stretch path left out; None if all have."""
    later = [each for each in exercises if each.number > exercise.number]
    earlier = [each for each in exercises if each.number < exercise.number]
    open_ = (each for each in [*later, *earlier] if state(log, each.number) is not State.PASSED)
    return next((each for each in open_ if each.facts.path == "core"), None)
