"""A head and a history on a clock of the test's own, and every sample that they were given."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path

from llm_monitor.history.levels import Level
from llm_monitor.history.storage import Storage
from llm_monitor.history.store import Store
from llm_monitor.history.writer import History
from llm_monitor.series import Head, Labels, Matcher, Page, Source, labels_of

BEGIN = 1_700_000_000.0
LEVELS = (Level(1_000, 10_000, 60_000), Level(5_000, 30_000, 300_000), Level(15_000, 60_000, 1_200_000))
"""The real ones, in a world where all is sooner over."""

Values = Mapping[str, float]


class World:
    """Scrapes four times a second and writes the history each second, as fast as it can."""

    def __init__(self, path: Path, *, seconds: float = 30.0, **options: object) -> None:
        self.now = BEGIN
        self.head = Head(seconds=seconds)
        self.store = Store(path, LEVELS)
        self.history = History(self.store, self.head, now=lambda: self.now, **options)
        self.storage = Storage(self.head, self.store, now=lambda: self.now)
        self.given: dict[str, list[tuple[float, float]]] = {}

    def run(self, seconds: float, values: Callable[[float], Values | None], target: str = "a") -> None:
        """Go on with pages of `values(time since BEGIN)` by name; None ends the target."""
        for step in range(round(seconds * 4)):
            self.now += 0.25
            found = values(self.now - BEGIN)
            if found is None:
                self.head.end(target, self.now)
            else:
                self.head.append(target, self.now, page(found, target))
                for name, value in found.items():
                    self.given.setdefault(name, []).append((self.now, value))
            if step % 4 == 3:
                self.history.tick()


def page(values: Values, target: str = "a") -> Page:
    return Page.of({series(name, target): value for name, value in values.items()})


def series(name: str, target: str = "a") -> Labels:
    return labels_of({"__name__": name, "instance": target})


def read(
    source: Source, name: str, start: float = -math.inf, end: float = math.inf
) -> list[tuple[float, float | None]]:
    """Return time since BEGIN and value of the one series with this name; None for a stale marker."""
    found = source.select([Matcher("__name__", "=", name)], start, end)
    assert len(found) <= 1
    if not found:
        return []
    points = zip((found[0].times - BEGIN).round(3).tolist(), found[0].values.tolist(), strict=True)
    return [(time, None if math.isnan(value) else value) for time, value in points]
