"""The browser's cards: one file, HTML, in the deck's order."""

from __future__ import annotations

from pathlib import Path

from llm_course.cards import deck
from llm_course.cards.page import write_cards


def test_all_cards_are_written(tmp_path: Path) -> None:
    (path,) = write_cards(tmp_path / "generated")
    text = path.read_text(encoding="utf-8")
    assert path.name == "cards.js"
    assert text.startswith("course.registerCards([{")
    assert text.count('"front": "<p>') == len(deck.cards()) >= 60
