"""Time spent, from the log: a gap between two events counts if it is short enough to have been work.

A longer gap counts as the reading time that the page at its end measured itself, if it did.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import datetime

from llm_course.progress.log import Event

LONGEST_GAP = 20 * 60
"""Seconds."""
MODULE = re.compile(r"(?:modules/)?0?([1-9])(?:[./-]|$)")


def hours(events: Iterable[Event], cards: Mapping[str, int]) -> dict[int | None, float]:
    """Return the hours of each module, and of None for what belongs to none. `cards`: card id -> its module."""
    spent: dict[int | None, float] = {}
    before: datetime | None = None
    for event in events:
        at = datetime.fromisoformat(event.at)
        reading = float(event.facts.get("seconds", 0)) if event.kind == "page" else 0.0
        gap = reading if before is None else (at - before).total_seconds()
        worked = gap if gap <= LONGEST_GAP else min(reading, gap)
        module = module_of(event, cards)
        spent[module] = spent.get(module, 0.0) + worked / 3600
        before = at
    return spent


def module_of(event: Event, cards: Mapping[str, int]) -> int | None:
    """Return the module that the event belongs to, if any."""
    if event.kind == "card":
        return cards.get(event.key)
    match = MODULE.match(event.key)
    return int(match[1]) if match else None
