"""The progress log: what is added is there again, two logs join in any order, and a broken line is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from llm_course.errors import CourseError
from llm_course.progress.log import Event, Log, line, parse


def test_events_are_there_again(tmp_path: Path) -> None:
    path = tmp_path / "learn" / "progress.jsonl"
    log = Log(path)
    log.add("exercise", "2.3", event="passed", seconds=1.5)
    log.add("quiz", "2", event="finished", score=17, of=20)
    assert Log(path).events == log.events
    assert [event.facts["event"] for event in Log(path).of("exercise", "2.3")] == ["passed"]


def test_logs_join_in_any_order_and_more_than_once(tmp_path: Path) -> None:
    one, other = Log(tmp_path / "one"), Log(tmp_path / "other")
    one.add("card", "a", grade=3)
    other.add("card", "b", grade=1)
    theirs = list(other.events)
    assert other.merge(one.events) == 1
    assert one.merge(theirs) == 1
    assert one.merge(theirs) == 0
    assert sorted(map(line, one.events)) == sorted(map(line, other.events)) != []
    assert Log(tmp_path / "one").events == one.events


@pytest.mark.parametrize(
    "broken",
    [
        "{",
        "[]",
        '{"at": "2026-01-01T00:00:00.000Z"}',
        '{"at": "soon", "kind": "card", "key": "a", "facts": {}}',
        '{"at": "2026-01-01T00:00:00.000Z", "kind": "other", "key": "a", "facts": {}}',
    ],
)
def test_a_broken_line_is_named(broken: str) -> None:
    good = line(Event(at="2026-01-01T00:00:00.000Z", kind="card", key="a", facts={}))
    with pytest.raises(CourseError, match="mine, line 2"):
        list(parse(good + broken, "mine"))


def test_whole_numbers_are_written_as_the_browser_writes_them() -> None:
    event = Event(at="2026-01-01T00:00:00.000Z", kind="page", key="a", facts={"seconds": 2.0, "more": [3.0, 0.5, True]})
    assert line(event).startswith('{"at": "2026-01-01T00:00:00.000Z", "facts": {"more": [3, 0.5, true], "seconds": 2}')
