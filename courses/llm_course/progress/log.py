"""The log of a learner's events: lines of JSON, only ever appended to, so that two logs join without a conflict.

    {"at": "2026-03-01T09:30:00.000Z", "kind": "exercise", "key": "2.3", "facts": {"event": "passed", "seconds": 1.2}}

kind          key                    facts
exercise      number, "2.3"          event: started | passed | failed | hint | solution | reset; level, seconds
prediction    page or exercise       name, predicted, actual, unit
quiz          module, "2"            event: answered (question, right) | finished (score, of)
card          card's id              grade 1 to 4, due
deliverable   "2/block-manager"      event: filled | withdrawn
criterion     "2/3"                  event: met | withdrawn
page          page's path            event: read, seconds

docs/assets/js/store.js writes the same lines in the browser, character for character.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from llm_course.errors import CourseError

KINDS = ("exercise", "prediction", "quiz", "card", "deliverable", "criterion", "page")


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    at: str
    """UTC, ISO 8601 with milliseconds and a Z: sorts as text."""
    kind: str
    key: str
    facts: dict[str, Any]


class Log:
    """The events of one learner, oldest first."""

    def __init__(self, path: Path) -> None:
        """Read the file if it is there; CourseError if a line of it is no event."""
        self._path = path
        self.events = list(parse(path.read_text(encoding="utf-8"), str(path))) if path.exists() else []

    def add(self, kind: str, key: str, **facts: Any) -> Event:
        """Append an event of now to memory and file."""
        event = Event(at=stamp(datetime.now(UTC)), kind=kind, key=key, facts=facts)
        self.events.append(event)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(line(event))
        return event

    def of(self, kind: str, key: str | None = None) -> list[Event]:
        return [event for event in self.events if event.kind == kind and key in (None, event.key)]

    def merge(self, others: Iterable[Event]) -> int:
        """Add the events that are not here yet, and return how many they were. The file is replaced at once."""
        known = {line(event) for event in self.events}
        new = {line(event): event for event in others if line(event) not in known}
        self.events = sorted([*self.events, *new.values()], key=lambda event: event.at)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        written = self._path.with_suffix(".new")
        written.write_text("".join(map(line, self.events)), encoding="utf-8")
        os.replace(written, self._path)
        return len(new)


def line(event: Event) -> str:
    """Return the event as a line of JSON; equal events give equal lines, here and in the browser."""
    return json.dumps(_as_in_browser(asdict(event)), ensure_ascii=False, sort_keys=True) + "\n"


def _as_in_browser(value: Any) -> Any:
    """JavaScript has one kind of number: 2.0 is 2 there."""
    if isinstance(value, dict):
        return {key: _as_in_browser(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_as_in_browser(each) for each in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def parse(text: str, source: str) -> Iterator[Event]:
    """Read events from lines of JSON; CourseError names `source` and the line that is none."""
    for number, content in enumerate(text.split("\n"), 1):
        if not content.strip():
            continue
        try:
            fields = json.loads(content)
            event = Event(**fields)
            datetime.fromisoformat(event.at)
        except (ValueError, TypeError) as error:
            raise CourseError(f"{source}, line {number}: not an event of a progress log ({error})") from None
        if event.kind not in KINDS or not isinstance(event.key, str) or not isinstance(event.facts, dict):
            raise CourseError(f"{source}, line {number}: not an event of a progress log")
        yield event


def stamp(time: datetime) -> str:
    """Return a time as events spell it."""
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
