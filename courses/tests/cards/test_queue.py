"""The cards that are due follow from the log's grades and their times."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from llm_course.cards import queue
from llm_course.cards.deck import Card
from llm_course.cards.fsrs import AGAIN, GOOD
from llm_course.progress.log import Event, stamp

BEGIN = datetime(2026, 3, 1, 9, tzinfo=UTC)
DECK = [Card(f"c{i}", 2, "m", "p", "?", "!") for i in range(50)]


def graded(card: str, grade: int, after: timedelta = timedelta()) -> Event:
    return Event(at=stamp(BEGIN + after), kind="card", key=card, facts={"grade": grade})


def due(events: list[Event], after: timedelta) -> list[str]:
    return [card.id for card in queue.due(DECK, queue.standings(events), BEGIN + after)]


def test_new_cards_come_in_order_up_to_the_days_number() -> None:
    assert due([], timedelta()) == [f"c{i}" for i in range(queue.NEW_A_DAY)]
    today = [graded(f"c{i}", GOOD) for i in range(15)]
    assert due(today, timedelta(hours=1)) == [f"c{i}" for i in range(15, 20)]


def test_due_cards_come_before_new_ones_the_longest_overdue_first() -> None:
    events = [graded("c3", GOOD, timedelta(hours=1)), graded("c8", GOOD)]
    assert due(events, timedelta(days=5))[:3] == ["c8", "c3", "c0"]


def test_again_comes_back_within_minutes() -> None:
    events = [graded("c0", AGAIN)]
    assert "c0" not in due(events, timedelta(minutes=9))
    assert due(events, timedelta(minutes=10))[0] == "c0"


def test_logs_of_two_machines_give_one_schedule() -> None:
    here = [graded("c0", GOOD), graded("c0", GOOD, timedelta(days=12))]
    there = [graded("c0", GOOD, timedelta(days=3))]
    joined = queue.standings(sorted(here + there, key=lambda event: event.at))["c0"]
    assert joined.last == BEGIN + timedelta(days=12)
    assert joined.memory.stability > queue.standings(here)["c0"].memory.stability
    assert joined.first == BEGIN
    assert joined.is_known
