"""Results of a subject's tests, as data: they travel as JSON from the process that ran them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a test failed."""

    error: str
    """Names of the exceptions' types, with commas."""
    message: str
    """The first line of what the exception says."""
    got: str | None = None
    expected: str | None = None
    """The two sides of the comparison that failed, if it was one."""
    line: int | None = None
    """Where in the subject's file; None if the test itself noticed."""
    test_line: int | None = None
    example: str = ""
    """The input that hypothesis found."""
    printed: str = ""

    @property
    def is_verdict(self) -> bool:
        """Return whether a test judged, or met a part that is not written yet; all else is an accident."""
        return set(self.error.split(", ")) <= {"AssertionError", "NotImplementedError", "InvariantError"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One test."""

    test: str
    contract: str
    """The sentence that the test holds the subject to: its docstring's first."""
    seconds: float
    failure: Failure | None = None
    prediction: float | None = None
    """The number that the test noted for the exercise's prediction."""

    @property
    def passed(self) -> bool:
        return self.failure is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All tests of one subject, as far as they ran."""

    number: str
    subject: str
    outcomes: tuple[Outcome, ...] = ()
    num_tests: int = 0
    """Collected; more than ran, if the run stopped at the first failure."""
    broken: Failure | None = None
    """Why the subject, or its tests, could not even be imported."""
    seconds: float = 0.0

    @property
    def passed(self) -> bool:
        return self.broken is None and len(self.outcomes) == self.num_tests > 0 and all(o.passed for o in self.outcomes)

    @property
    def first_failure(self) -> Outcome | None:
        return next((outcome for outcome in self.outcomes if not outcome.passed), None)

    def of(self, test: str) -> list[Outcome]:
        """Return the outcomes of a test, one for each of its parameters."""
        return [outcome for outcome in self.outcomes if test_name(outcome.test) == test]

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Report:
        values = json.loads(text)
        broken = values.pop("broken")
        outcomes = tuple(_outcome(each) for each in values.pop("outcomes"))
        return cls(**values, outcomes=outcomes, broken=broken and Failure(**broken))


def test_name(name: str) -> str:
    """Return the name without its parameters."""
    return name.partition("[")[0]


def _outcome(values: dict[str, object]) -> Outcome:
    failure = values.pop("failure")
    return Outcome(**values, failure=Failure(**failure) if isinstance(failure, dict) else None)  # type: ignore[arg-type]
