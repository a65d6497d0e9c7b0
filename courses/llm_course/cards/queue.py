"""The cards that are due. Memories follow from the grades in the log, so that two logs join into one schedule."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from llm_course.cards.deck import Card
from llm_course.cards.fsrs import AGAIN, Memory, interval, review
from llm_course.progress.log import Event

NEW_A_DAY = 20
AGAIN_AFTER = timedelta(minutes=10)
KNOWN_STABILITY = 21.0
"""Days: from here on a card counts as known, as Anki's mature cards do."""


@dataclass(frozen=True, slots=True)
class Standing:
    """One card's memory after its last review."""

    memory: Memory
    last: datetime
    first: datetime
    due: datetime

    @property
    def is_known(self) -> bool:
        return self.memory.stability >= KNOWN_STABILITY


def standings(events: Iterable[Event]) -> dict[str, Standing]:
    """Return the standing of each card that was reviewed. `events`: those of kind `card`, oldest first."""
    found: dict[str, Standing] = {}
    for event in events:
        at, grade = datetime.fromisoformat(event.at), int(event.facts["grade"])
        before = found.get(event.key)
        found[event.key] = after(before, grade, at)
    return found


def after(before: Standing | None, grade: int, at: datetime) -> Standing:
    """Return the standing after a review at this time."""
    days = 0 if before is None else (at - before.last) // timedelta(days=1)
    memory = review(None if before is None else before.memory, grade, days)
    wait = AGAIN_AFTER if grade == AGAIN else timedelta(days=interval(memory))
    return Standing(memory, at, at if before is None else before.first, at + wait)


def due(deck: Sequence[Card], known: dict[str, Standing], now: datetime) -> list[Card]:
    """Return the cards to show now: those that are due, the longest overdue first, then new ones, NEW_A_DAY a day."""
    waiting = sorted((card for card in deck if card.id in known), key=lambda card: known[card.id].due)
    overdue = [card for card in waiting if known[card.id].due <= now]
    begun_today = sum(1 for standing in known.values() if standing.first.date() == now.date())
    fresh = [card for card in deck if card.id not in known]
    return overdue + fresh[: max(0, NEW_A_DAY - begun_today)]


def now() -> datetime:
    return datetime.now(UTC)
