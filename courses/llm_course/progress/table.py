"""`./lab progress` for people: one row a module, and what one module still asks for."""

from __future__ import annotations

from collections.abc import Iterator

from rich.table import Table

from llm_course.progress.calibration import Calibration
from llm_course.progress.summary import ModuleSummary, Summary, tasks
from llm_course.syllabus import Module


def overview(summary: Summary) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("Module")
    for heading in ("Hours", "Exercises", "Quiz", "Cards", "Deliverables", "Criteria"):
        table.add_column(heading, justify="right")
    for each in summary.modules:
        table.add_row(
            f"{each.module} {each.title}",
            f"{each.hours_spent:.1f} of {each.hours[0]:g}–{each.hours[1]:g}",
            _of(len(each.exercises_passed), each.exercises),
            _quiz(each),
            f"{each.cards_seen} of {each.cards}, {each.cards_known} known" if each.cards else "–",
            _of(len(each.deliverables_filled), each.deliverables),
            _of(len(each.criteria_met), each.criteria),
        )
    return table


def lines(summary: Summary) -> Iterator[str]:
    """Return what belongs to no row."""
    low, high = summary.hours
    yield f"{summary.hours_spent:.1f} hours of {low:g} to {high:g}; {summary.cards_due} cards are due (./lab cards)."
    yield predictions(summary.predictions)


def predictions(seen: Calibration) -> str:
    if not seen.count:
        return "No prediction has met its number yet: an exercise shows the tests' with the first pass."
    text = (
        f"{seen.count} predictions: {seen.within_10:.0%} within 10%, {seen.within_25:.0%} within 25%, "
        f"{seen.within_2x:.0%} within a factor of 2; {seen.too_high:.0%} were too high."
    )
    if len(seen.curve) > 1:
        text += f" Within 25%, ten by ten: {', '.join(f'{share:.0%}' for share in seen.curve)}."
    return text


def details(module: Module, each: ModuleSummary) -> Iterator[str]:
    """Return the module's exercises, deliverables and criteria with their ticks and keys."""
    for heading, rows, done in (
        ("Exercises", tasks(module), each.exercises_passed),
        ("Deliverables", [(d.key, d.text) for d in module.deliverables], each.deliverables_filled),
        ("Criteria", [(c.key, c.text) for c in module.criteria], each.criteria_met),
    ):
        if rows:
            yield f"\n{heading}"
            yield from (f"  {'✓' if key in done else '·'} {key}  {text}" for key, text in rows)
    yield f"\nQuiz  {_quiz(each)}"


def _of(done: int, of: int) -> str:
    return f"{done} of {of}" if of else "–"


def _quiz(each: ModuleSummary) -> str:
    if each.pass_mark is None:
        return "–"
    if each.quiz_best is None:
        return f"{each.pass_mark}% passes"
    return f"{each.quiz_best:.0f}%{' ✓' if each.quiz_passed else f' of {each.pass_mark}%'}"
