"""The log summed up, module by module. docs/assets/js/progress.js computes the same in the browser."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from llm_course.cards import queue
from llm_course.cards.deck import Card
from llm_course.progress import marks
from llm_course.progress.calibration import Calibration, calibration
from llm_course.progress.hours import hours
from llm_course.progress.log import Log
from llm_course.syllabus import Module, Syllabus


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleSummary:
    module: int
    title: str
    hours_spent: float
    hours: tuple[float, float]
    """The outline's range."""
    exercises_passed: list[str]
    exercises: int
    quiz_best: float | None
    """Per cent; None before the first finished attempt."""
    quiz_tries: int
    pass_mark: int | None
    cards_seen: int
    cards_known: int
    cards: int
    deliverables_filled: list[str]
    deliverables: int
    criteria_met: list[str]
    criteria: int

    @property
    def quiz_passed(self) -> bool:
        return self.quiz_best is not None and self.pass_mark is not None and self.quiz_best >= self.pass_mark


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    modules: list[ModuleSummary]
    hours_spent: float
    """Everything, what belongs to no module included."""
    hours: tuple[float, float]
    cards_due: int
    """Reviewed before and due now; new cards do not count."""
    predictions: Calibration


def summary(log: Log, syllabus: Syllabus, deck: Sequence[Card], now: datetime) -> Summary:
    spent = hours(log.events, {card.id: card.module for card in deck})
    known = queue.standings(log.of("card"))
    return Summary(
        modules=[
            _module(log, module, deck, known=known, spent=spent.get(module.number, 0.0)) for module in syllabus.modules
        ],
        hours_spent=sum(spent.values()),
        hours=syllabus.hours,
        cards_due=sum(1 for card in deck if card.id in known and known[card.id].due <= now),
        predictions=calibration(log.of("prediction")),
    )


def tasks(module: Module) -> list[tuple[str, str]]:
    """Return number and title of the module's exercises and projects."""
    exercises = [(exercise.number, exercise.title) for exercise in module.exercises]
    return exercises + [(project.number, project.title) for project in module.projects]


def _module(
    log: Log, module: Module, deck: Sequence[Card], *, known: dict[str, queue.Standing], spent: float
) -> ModuleSummary:
    passed = {event.key for event in log.of("exercise") if event.facts.get("event") == "passed"}
    scores = [
        100 * event.facts["score"] / event.facts["of"]
        for event in log.of("quiz", str(module.number))
        if event.facts.get("event") == "finished"
    ]
    cards = [card.id for card in deck if card.module == module.number]
    seen = [known[card] for card in cards if card in known]
    filled, met = marks.marked(log, "deliverable"), marks.marked(log, "criterion")
    numbers = [number for number, _ in tasks(module)]
    return ModuleSummary(
        module=module.number,
        title=module.title,
        hours_spent=spent,
        hours=module.hours,
        exercises_passed=[number for number in numbers if number in passed],
        exercises=len(numbers),
        quiz_best=max(scores, default=None),
        quiz_tries=len(scores),
        pass_mark=module.pass_mark,
        cards_seen=len(seen),
        cards_known=sum(standing.is_known for standing in seen),
        cards=len(cards),
        deliverables_filled=[each.key for each in module.deliverables if each.key in filled],
        deliverables=len(module.deliverables),
        criteria_met=[each.key for each in module.criteria if each.key in met],
        criteria=len(module.criteria),
    )
