"""Figures of results files: by path, by row, with one operation and a format; whatever is not there is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from llm_course.prose import figures
from llm_course.prose.figures import FigureError, figure

DATA = {
    "requests": 10000,
    "share": 0.9975,
    "rows": [{"policy": "fcfs", "ttft": [0.431, 2]}, {"policy": "priority", "ttft": [0.098, 3]}],
    "Qwen3-0.6B": {"rate": 16340.0},
    "nothing": None,
    "flag": True,
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "x.json").write_text(json.dumps(DATA))
    (tmp_path / "broken.json").write_text("{")
    return tmp_path


@pytest.mark.parametrize(
    ("expression", "style", "text"),
    [
        ("requests", None, "10000"),
        ("requests", "count", "10,000"),
        ("requests", ",", "10,000"),
        ("share", ".1%", "99.8%"),
        ("share", "share", "99.7%"),
        ("rows[policy=fcfs].ttft[0]", "seconds", "431 ms"),
        ("rows.1.ttft.0", "seconds", "98 ms"),
        ('"Qwen3-0.6B".rate', "count", "16,340"),
        ("rows[0].ttft[0] / rows[1].ttft[0]", ".1f", "4.4"),
        ("share * 100", ".0f", "100"),
        ("requests - 1", "count", "9,999"),
        ("flag", None, "yes"),
    ],
)
def test_a_figure_is_found_and_formatted(root: Path, expression: str, style: str | None, text: str) -> None:
    assert figure(root, "x.json", expression, style) == text


@pytest.mark.parametrize(
    ("file", "expression", "style", "message"),
    [
        ("x.json", "gone", None, r"x\.json :: gone: no 'gone'; there is requests, share"),
        ("x.json", "rows[9]", None, r"no '\[9\]'; there is a list of 2"),
        ("x.json", "rows[policy=lifo].ttft", None, r"no '\[policy=lifo\]'"),
        ("x.json", "requests.more", None, r"no 'more'; there is 10000"),
        ("x.json", "rows", None, "no single value"),
        ("x.json", "nothing", None, "no single value"),
        ("x.json", "flag", "count", "no single value"),
        ("x.json", "share", "x", "as x"),
        ("x.json", "share share", None, "is no path"),
        ("x.json", "share / requests / 2", None, "one operation at most"),
        ("x.json", "share / 0", None, "division"),
        ("gone.json", "share", None, "No such file"),
        ("broken.json", "share", None, "no JSON"),
    ],
)
def test_what_is_not_there_is_named(root: Path, file: str, expression: str, style: str | None, message: str) -> None:
    with pytest.raises(FigureError, match=message):
        figure(root, file, expression, style)


def test_a_figure_follows_its_file(root: Path) -> None:
    assert figure(root, "x.json", "requests") == "10000"
    (root / "x.json").write_text('{"requests": 5}')
    assert figure(root, "x.json", "requests") == "5"


def test_a_figure_is_read_from_its_source(root: Path) -> None:
    assert figures.written("x.json :: share | .1%", root) == "99.8%"
    assert figures.written("x.json::requests", root) == "10000"
    assert figures.table({"a": "x.json :: requests | count"}, root) == {"a": "10,000"}
    with pytest.raises(FigureError, match="write it as"):
        figures.written("x.json", root)


def test_other_braces_stay() -> None:
    assert figures.fill('{a} {b} {"c": 1} {a}', {"a": "1"}) == '1 {b} {"c": 1} 1'
