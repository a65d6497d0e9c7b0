"""The browser's summary of a log is Python's."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.support_node import in_browser, needs_node

from llm_course import syllabus
from llm_course.cards import deck
from llm_course.cards.page import write_cards
from llm_course.progress.log import Event, Log, line, stamp
from llm_course.progress.outline import write_outline
from llm_course.progress.summary import summary

pytestmark = needs_node
BEGIN = datetime(2026, 3, 1, 9, tzinfo=UTC)


def events() -> list[Event]:
    cards = [card.id for card in deck.cards()][:3]
    rows: list[tuple[int, str, str, dict[str, object]]] = [
        (0, "page", "modules/02-core-concepts/block-manager", {"event": "read", "seconds": 300}),
        (4, "exercise", "2.3", {"event": "started"}),
        (19, "exercise", "2.3", {"event": "passed", "seconds": 2}),
        (300, "page", "modules/01-foundation/first-inference", {"event": "read", "seconds": 400}),
        (302, "quiz", "2", {"event": "finished", "score": 16, "of": 20}),
        (310, "quiz", "2", {"event": "finished", "score": 18, "of": 20}),
        (312, "criterion", "2/3", {"event": "met"}),
        (313, "criterion", "2/1", {"event": "met"}),
        (314, "criterion", "2/1", {"event": "withdrawn"}),
        (320, "page", "index", {"event": "read", "seconds": 30}),
        *((330 + 2000 * i, "card", card, {"grade": 4}) for i in range(4) for card in cards),
        *(
            (9000 + i, "prediction", "modules/02-core-concepts/x", {"name": f"n{i}", "predicted": p, "actual": a})
            for i, (p, a) in enumerate(
                [(10, 10), (12, 10), (30, 10), (9.5, 10), (0, 10), (5, 0), ("b", "b"), ("b", "c")] * 2
            )
        ),
        (9100, "prediction", "modules/02-core-concepts/x", {"name": "n2", "predicted": 10, "actual": 10}),
    ]
    return [
        Event(at=stamp(BEGIN + timedelta(minutes=m)), kind=k, key=key, facts=facts)
        for m, k, key, facts in sorted(rows, key=lambda row: row[0])
    ]


def test_the_summary_is_pythons(tmp_path: Path) -> None:
    log = Log(tmp_path / "log")
    log.merge(events())
    now = BEGIN + timedelta(days=60)
    wanted = json.loads(json.dumps(asdict(summary(log, syllabus.load(), deck.cards(), now))))
    data = [path.read_text(encoding="utf-8") for path in (*write_cards(tmp_path), *write_outline(tmp_path))]
    code = """
    given.data.forEach((script) => new Function("course", script)(course));
    course.log.merge(given.log);
    return course.progress.summary(course.log, course.outline, course.cards, Date.parse(given.now));
    """
    found = in_browser(code, {"data": data, "log": "".join(map(line, log.events)), "now": stamp(now)})
    assert found == _close(wanted)
    module = found["modules"][1]
    assert module["exercises_passed"] == ["2.3"]
    assert (module["quiz_best"], module["quiz_tries"]) == (90, 2)
    assert module["criteria_met"] == ["2/3"]
    assert found["predictions"]["count"] == 16


def _close(value: object) -> object:
    if isinstance(value, dict):
        return {key: _close(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_close(each) for each in value]
    return pytest.approx(value) if isinstance(value, float) else value


@pytest.mark.parametrize(
    ("predicted", "actual", "text"),
    [
        (31, 31, "Exactly right."),
        (30, 31, "3% off: close."),
        (40, 31, "29% too high."),
        (310, 31, "Too high by a factor of 10."),
        (1, 31, "Too low by a factor of 31."),
        (-3, 31, "The size is another."),
        ("evict", "evict", "Right."),
        ("evict", "preempt", "Not so."),
    ],
)
def test_a_prediction_is_told_how_far_off_it_was(predicted: object, actual: object, text: str) -> None:
    assert in_browser("return course.prediction.distance(...given);", [predicted, actual]) == text
