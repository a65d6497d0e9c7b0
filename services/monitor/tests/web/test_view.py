"""The columns of a board keep their numbers, and a panel shows a limited number of series."""

from __future__ import annotations

import numpy as np

from llm_monitor.boards.panel import Board, Choice, Panel, Query, Section
from llm_monitor.promql import Vector
from llm_monitor.series.selection import labels_of
from llm_monitor.web.view import MAX_SERIES, View, numbers

PANEL = Panel(key="p", title="P", queries=(Query(expression="x"),), unit="count", shows="", source="")
BOARD = Board(key="b", title="B", sections=(Section(title="S", panels=(PANEL,)),))


def vector(values: dict[str, float]) -> Vector:
    labels = [labels_of({"instance": name}) for name in values]
    return Vector.of(labels, np.array([[value] for value in values.values()]), np.array([0.0]))


def test_a_series_keeps_its_number() -> None:
    view = View(BOARD, Choice())
    assert view.put({"x": vector({"a": 1.0, "b": 2.0})}, 1)[:, 0].tolist() == [2.0, 1.0]  # the largest comes first
    values = view.put({"x": vector({"c": 3.0, "a": 5.0})}, 1)[:, 0]
    assert [column.labels["instance"] for column in view.columns] == ["b", "a", "c"]
    assert np.isnan(values[0])
    assert values[1:].tolist() == [5.0, 3.0]


def test_a_panel_shows_the_largest_series_and_counts_the_others() -> None:
    view = View(BOARD, Choice())
    view.put({"x": vector({f"i{number}": float(number) for number in range(20)})}, 1)
    assert len(view.columns) == MAX_SERIES
    assert view.columns[0].labels["instance"] == "i19"
    assert view.hidden == {"p": 20 - MAX_SERIES}


def test_a_series_that_ended_makes_room() -> None:
    view = View(BOARD, Choice())
    view.put({"x": vector({f"i{number}": 1.0 for number in range(MAX_SERIES)})}, 1)
    view.put({"x": vector({"new": 1.0})}, 1)
    assert view.columns[-1].labels["instance"] == "new"
    assert view.hidden == {}


def test_a_series_without_a_value_gets_no_column() -> None:
    view = View(BOARD, Choice())
    view.put({"x": vector({"a": float("nan")})}, 1)
    assert view.columns == []


def test_numbers_are_short_and_finite() -> None:
    assert numbers(np.array([1 / 3, np.nan, np.inf, 12345678.0])) == [0.333333, None, None, 12345700.0]
