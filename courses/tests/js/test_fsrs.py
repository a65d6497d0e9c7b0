"""The browser's scheduler gives what py-fsrs gives, and the queue that Python gives."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.support_node import in_browser, needs_node

from llm_course.cards import queue
from llm_course.cards.deck import Card
from llm_course.progress.log import Event, stamp

pytestmark = needs_node
VECTORS = Path(__file__).parents[1] / "cards" / "fsrs_vectors.json"


def test_reviews_give_what_py_fsrs_gives() -> None:
    histories = json.loads(VECTORS.read_text(encoding="utf-8"))
    code = """
    return given.map((history) => {
      let memory = null;
      return history.map(({grade, days}) => {
        memory = course.fsrs.review(memory, grade, days);
        return [memory.stability, memory.difficulty, course.fsrs.interval(memory)];
      });
    });
    """
    for history, found in zip(histories, in_browser(code, histories), strict=True):
        for step, (stability, difficulty, interval) in zip(history, found, strict=True):
            assert stability == pytest.approx(step["stability"], abs=1e-8)
            assert difficulty == pytest.approx(step["difficulty"], abs=1e-8)
            assert interval == step["interval"]


def test_the_queue_is_pythons() -> None:
    deck = [Card(f"c{i}", 2, "02-core-concepts", "p", "?", "!") for i in range(40)]
    begin = datetime(2026, 3, 1, 12, tzinfo=UTC)
    grades = [(i % 9, 1 + i % 4, begin + timedelta(hours=7 * i)) for i in range(30)]
    events = [Event(at=stamp(at), kind="card", key=f"c{i}", facts={"grade": grade}) for i, grade, at in grades]
    known = queue.standings(events)
    for now in (begin + timedelta(days=d) for d in (0, 2, 9, 40, 400)):
        code = """
        const known = course.fsrs.standings(given.events);
        return course.fsrs.due(given.deck, known, Date.parse(given.now)).map((card) => card.id);
        """
        cards = [{"id": card.id} for card in deck]
        given = {
            "events": [{"at": e.at, "key": e.key, "facts": e.facts} for e in events],
            "deck": cards,
            "now": stamp(now),
        }
        assert in_browser(code, given) == [card.id for card in queue.due(deck, known, now)]
