"""A report in words."""

from __future__ import annotations

from collections.abc import Iterator

from llm_course.exercises.exercise import Exercise
from llm_course.exercises.outcome import Failure, Outcome, Report

MOST_LINES = 20


def describe_report(exercise: Exercise, report: Report) -> str:
    """Return the verdict: the first promise that is broken, or how many are kept; and the seconds."""
    if report.broken is not None:
        return "\n".join(_broken(exercise, report.broken))
    failed = report.first_failure
    kept = sum(outcome.passed for outcome in report.outcomes)
    if failed is None:
        return f"✓ all {report.num_tests} tests pass ({report.seconds:.1f} s)"
    reason = describe_outcome(exercise, failed)
    return f"{reason}\n  {kept} of {report.num_tests} tests pass so far ({report.seconds:.1f} s)"


def describe_outcome(exercise: Exercise, outcome: Outcome) -> str:
    """Return why a test failed, without anything that differs from run to run."""
    assert outcome.failure is not None
    return "\n".join([f"✗ {outcome.contract}", *_reason(exercise, outcome.test, outcome.failure)])


def _broken(exercise: Exercise, failure: Failure) -> Iterator[str]:
    yield "✗ Your file cannot be imported." if failure.error != "Crash" else "✗ The tests did not come to an end."
    yield f"  {failure.error}: {failure.message}"
    if failure.line is not None:
        yield f"  at {exercise.file_name}:{failure.line}"


def _reason(exercise: Exercise, test: str, failure: Failure) -> Iterator[str]:
    if failure.error == "NotImplementedError":
        yield f"  not written yet: {failure.message}"
    elif failure.expected is not None:
        if not failure.message.startswith("assert "):
            yield f"  {failure.message}"
        yield f"  expected  {failure.expected}"
        yield f"  got       {failure.got}"
    else:
        yield f"  {failure.error}: {failure.message}"
    where = f"{test}, line {failure.test_line}" if failure.test_line else test
    yield f"  in {where}" + (f"; {exercise.file_name}, line {failure.line}" if failure.line else "")
    yield from _block("found with", failure.example)
    yield from _block("printed", failure.printed)


def _block(title: str, text: str) -> Iterator[str]:
    lines = text.strip().splitlines()
    if lines:
        yield f"  {title}:"
        yield from (f"    {line}" for line in lines[:MOST_LINES])
        if len(lines) > MOST_LINES:
            yield f"    … {len(lines) - MOST_LINES} more lines"
