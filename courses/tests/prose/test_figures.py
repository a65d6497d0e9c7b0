"""Figures come from results files; a file, a path or a value that is not there is an error that names it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from llm_course.errors import CourseError
from llm_course.prose import figures


@pytest.fixture
def root(tmp_path: Path) -> Path:
    data = {"a": {"b": 1.2345, "qwen3-0.6b": {"x y": [3, 4]}}, "flag": True, "word": "x"}
    (tmp_path / "r.json").write_text(json.dumps(data), encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize(
    ("source", "text"),
    [("r.json :: a.b | .2f", "1.23"), ("r.json::a.b", "1.2345"), ('r.json :: a."qwen3-0.6b"."x y".1 | .1f', "4.0")],
)
def test_a_figure_is_written_in_its_format(root: Path, source: str, text: str) -> None:
    assert figures.written(source, root) == text


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("r.json", "write it as"),
        ("none.json :: a", "cannot be read"),
        ("r.json :: a.c", "a figure is a number"),
        ('r.json :: a."qwen3-0.6b"."x y".2', "a figure is a number"),
        ("r.json :: a", "a figure is a number"),
        ("r.json :: flag", "a figure is a number"),
        ("r.json :: word.more", "a figure is a number"),
    ],
)
def test_what_is_no_figure_is_named(root: Path, source: str, reason: str) -> None:
    with pytest.raises(CourseError, match=reason):
        figures.written(source, root)


def test_other_braces_stay() -> None:
    assert figures.fill('{a} {b} {"c": 1} {a}', {"a": "1"}) == '1 {b} {"c": 1} 1'
