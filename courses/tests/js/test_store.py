"""The browser's log writes, reads and joins the same lines as llm_course.progress.log."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support_node import in_browser, needs_node

from llm_course.progress.log import Event, Log, line, parse

pytestmark = needs_node

EVENTS = [
    Event(at="2026-03-01T09:30:00.000Z", kind="exercise", key="2.3", facts={"event": "passed", "seconds": 1.5}),
    Event(at="2026-03-01T09:31:00.000Z", kind="quiz", key="2", facts={"event": "finished", "score": 17, "of": 20}),
    Event(at="2026-03-01T09:32:00.000Z", kind="prediction", key="é/“x”", facts={"name": "a", "predicted": 0.25}),
    Event(at="2026-03-01T09:33:00.000Z", kind="page", key="index", facts={"seconds": 60.0, "z": [1, {"b": None}]}),
]


def test_lines_are_the_same_character_for_character() -> None:
    text = "".join(map(line, EVENTS))
    assert in_browser("course.log.merge(given); return course.log.text();", text) == text


def test_a_round_trip_through_the_browser_brings_nothing_new(tmp_path: Path) -> None:
    log = Log(tmp_path / "log")
    log.merge(EVENTS)
    back = in_browser("course.log.merge(given); return course.log.text();", "".join(map(line, log.events)))
    assert log.merge(parse(back, "the browser")) == 0


def test_added_events_are_events_for_python() -> None:
    text = in_browser('course.log.add("card", "a", {grade: 3, due: "x"}); return course.log.text();')
    (event,) = parse(text, "the browser")
    assert (event.kind, event.key, event.facts) == ("card", "a", {"grade": 3, "due": "x"})


def test_merge_sorts_and_counts_what_is_new() -> None:
    early, late = line(EVENTS[0]), line(EVENTS[3])
    code = """
    const first = course.log.merge(given[1]);
    return [first, course.log.merge(given[0] + given[1]), course.log.text()];
    """
    assert in_browser(code, [early, late]) == [1, 1, early + late]


@pytest.mark.parametrize("broken", ["{", "[]", '{"at": "soon", "kind": "card", "key": "a", "facts": {}}', '{"at": 1}'])
def test_a_broken_line_is_named_and_changes_nothing(broken: str) -> None:
    code = 'try { course.log.merge(given, "mine"); } catch (error) { return [error.message, course.log.text()]; }'
    message, text = in_browser(code, line(EVENTS[0]) + broken)
    assert message == "mine, line 2: not an event of a progress log"
    assert text == ""


def test_listeners_hear_of_changes_until_they_leave() -> None:
    code = """
    let heard = 0;
    const leave = course.log.onChange(() => { heard += 1; });
    course.log.add("card", "a", {grade: 3});
    leave();
    course.log.add("card", "a", {grade: 3});
    return heard;
    """
    assert in_browser(code) == 1


def test_the_page_is_named_below_the_site() -> None:
    code = 'course.root = "file:///site/"; return course.here();'
    assert in_browser(code) == "modules/02-core-concepts/block-manager"
