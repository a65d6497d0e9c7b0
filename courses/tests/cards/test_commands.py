"""Reviewing in the terminal ends with q, and with the end of the input."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from llm_course.cards import commands
from llm_course.cli import main


@pytest.mark.parametrize("typed", ["", "q\n", "\n", "\n7\nq\n"])
def test_a_review_can_be_left_at_any_prompt(
    typed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(commands, "LOG", tmp_path / "progress.jsonl")
    monkeypatch.setattr("sys.stdin", io.StringIO(typed))
    assert main(["cards"]) == 0
    assert capsys.readouterr().out.startswith("0 cards are due, and 20 are new. q leaves.")
    assert not (tmp_path / "progress.jsonl").exists()
