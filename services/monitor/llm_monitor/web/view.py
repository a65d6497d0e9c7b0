"""A board as one viewer sees it: its expressions, evaluated together, as compact columns.

The series of a view have numbers that stay while it lives, so that a message of the live stream names no label twice.
A panel shows at most `MAX_SERIES` series. Those already shown stay; the rest are counted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from llm_monitor.boards.panel import Board, Choice, expand
from llm_monitor.series.selection import NAME, Floats, Labels

MAX_SERIES = 12
"""Most series of a panel; each of its queries has at least 4."""
DIGITS = 6
"""Significant digits of a value on the wire."""


class Evaluated(Protocol):
    """The result of an expression, as `promql.Vector` is."""

    @property
    def labels(self) -> Sequence[Labels]: ...
    @property
    def values(self) -> Floats:
        """Shape (series, steps); NaN where there is no sample."""


@dataclass(frozen=True, slots=True)
class Key:
    """The board and the choice: viewers with equal keys see the same."""

    board: str
    filters: tuple[tuple[str, tuple[str, ...]], ...]
    by: str
    window: float

    @classmethod
    def of(cls, board: Board, choice: Choice) -> Key:
        filters = tuple(sorted((name, tuple(values)) for name, values in choice.filters.items() if values))
        return cls(board.key, filters, choice.by, choice.window)


@dataclass(frozen=True, slots=True)
class Column:
    """One series of a view."""

    panel: str
    query: int
    labels: Mapping[str, str]

    def to_json(self) -> dict[str, Any]:
        return {"panel": self.panel, "query": self.query, "labels": self.labels}


@dataclass(slots=True)
class View:
    """The expressions of a board with a viewer's choice, and the series that they have yielded so far."""

    board: Board
    choice: Choice
    columns: list[Column] = field(default_factory=list)
    _hidden: dict[tuple[str, int], int] = field(default_factory=dict)
    _numbers: dict[tuple[str, int, Labels], int] = field(default_factory=dict)
    expressions: tuple[tuple[str, int, str], ...] = field(init=False)
    """(panel, number of the query, PromQL)."""

    _room: dict[str, int] = field(init=False)

    def __post_init__(self) -> None:
        self._room = {panel.key: max(4, MAX_SERIES // len(panel.queries)) for panel in self.board.panels}
        self.expressions = tuple(
            (panel.key, number, expand(query.expression, self.choice))
            for panel in self.board.panels
            for number, query in enumerate(panel.queries)
        )

    @property
    def hidden(self) -> dict[str, int]:
        """The number of series that a panel does not show, by panel."""
        return {
            panel: count
            for panel in dict.fromkeys(panel for panel, _ in self._hidden)
            if (count := sum(number for (name, _), number in self._hidden.items() if name == panel))
        }

    def put(self, results: Mapping[str, Evaluated], steps: int) -> Floats:
        """Return the values of all series, shape (series, steps), from the results by expression."""
        rows: list[tuple[int, Floats]] = []
        for panel, query, expression in self.expressions:
            if (found := results.get(expression)) is not None:
                rows += self._rows(panel, query, found)
        values = np.full((len(self.columns), steps), np.nan)
        for number, row in rows:
            values[number] = row
        return values

    def _rows(self, panel: str, query: int, found: Evaluated) -> list[tuple[int, Floats]]:
        present = [bool(np.isfinite(row).any()) for row in found.values]
        rows, fresh = [], []
        for index, labels in enumerate(found.labels):
            number = self._numbers.get((panel, query, labels))
            if number is not None:
                rows.append((number, found.values[index]))
            elif present[index]:
                fresh.append(index)
        if fresh:
            room = max(0, self._room[panel] - sum(bool(np.isfinite(row).any()) for _, row in rows))
            fresh.sort(key=lambda index: -_last(found.values[index]))
            shown = [(self._number(panel, query, found.labels[index]), found.values[index]) for index in fresh[:room]]
            rows += shown
            fresh = fresh[room:]
        self._hidden[panel, query] = len(fresh)
        return rows

    def _number(self, panel: str, query: int, labels: Labels) -> int:
        number = self._numbers[panel, query, labels] = len(self.columns)
        self.columns.append(Column(panel, query, {name: value for name, value in labels if name != NAME}))
        return number


def numbers(values: Floats) -> list[float | None]:
    """Return the values as JSON can hold them: six digits, null for what is not finite."""
    return [None if not np.isfinite(value) else float(f"{value:.{DIGITS}g}") for value in values.tolist()]


def _last(values: Floats) -> float:
    """Return the last finite value."""
    finite = values[np.isfinite(values)]
    return float(finite[-1]) if finite.size else -np.inf
