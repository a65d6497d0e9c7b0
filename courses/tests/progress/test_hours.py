"""Hours: short gaps between events are work, long ones are not, but for the reading time that a page measured."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from llm_course.progress.hours import hours, module_of
from llm_course.progress.log import Event, stamp

BEGIN = datetime(2026, 3, 1, 9, tzinfo=UTC)


def event(minutes: float, kind: str, key: str, **facts: object) -> Event:
    return Event(at=stamp(BEGIN + timedelta(minutes=minutes)), kind=kind, key=key, facts=facts)


def test_gaps_count_for_the_module_of_the_event_that_ends_them() -> None:
    events = [event(0, "exercise", "2.3"), event(15, "exercise", "2.3"), event(27, "quiz", "4"), event(99, "quiz", "4")]
    assert hours(events, {}) == {2: pytest.approx(0.25), 4: pytest.approx(0.2)}


def test_a_page_measures_its_own_time() -> None:
    read = {"event": "read", "seconds": 600}
    events = [
        event(0, "page", "modules/02-core-concepts/x", **read),
        event(300, "page", "modules/02-core-concepts/y", **read),
    ]
    assert hours(events, {}) == {2: pytest.approx(1200 / 3600)}
    within = [event(0, "quiz", "2"), event(12, "page", "modules/02-core-concepts/x", **read)]
    assert hours(within, {})[2] == pytest.approx(0.2), "the gap holds the reading; both would count it twice"


@pytest.mark.parametrize(
    ("kind", "key", "module"),
    [
        ("exercise", "2.3", 2),
        ("quiz", "7", 7),
        ("criterion", "4/2", 4),
        ("deliverable", "2/block-manager", 2),
        ("page", "modules/02-core-concepts/block-manager", 2),
        ("prediction", "modules/09-interview/x", 9),
        ("prediction", "1.2", 1),
        ("page", "index", None),
        ("page", "course/how-to", None),
        ("quiz", "final", None),
        ("card", "known", 3),
        ("card", "gone", None),
    ],
)
def test_events_belong_to_modules(kind: str, key: str, module: int | None) -> None:
    assert module_of(event(0, kind, key), {"known": 3}) == module
