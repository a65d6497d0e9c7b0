"""Cards are read, or refused with the file and the field."""

from __future__ import annotations

from pathlib import Path

import pytest

from llm_course.cards import deck
from llm_course.errors import CourseError

CARD = "  - {id: a, page: p, front: Which one, back: That.}\n"


def write(folder: Path, text: str, slug: str = "02-core-concepts") -> Path:
    path = folder / slug / "cards.yaml"
    path.parent.mkdir()
    path.write_text(text, encoding="utf-8")
    return path


def test_a_card_knows_its_page_and_module(tmp_path: Path) -> None:
    (card,) = deck.read(write(tmp_path, f"module: 2\ncards:\n{CARD}"))
    assert card == deck.Card("a", 2, "02-core-concepts", "p", "Which one", "That.")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("module: 3\ncards: []", "says module 3"),
        ("module: 2\ncards:\n  - {id: A b, page: p, front: x, back: y}", "cards, 0, id"),
        ("module: 2\ncards:\n  - {id: a, page: p, front: x}", "cards, 0, back: Field required"),
        (f"module: 2\ncards:\n  - {{id: a, page: p, front: x, back: {'y' * 400}}}", "at most 320 characters"),
        ("module: [", "no YAML"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(CourseError, match=message):
        deck.read(write(tmp_path, text))


def test_ids_are_unique_over_all_modules(tmp_path: Path) -> None:
    write(tmp_path, f"module: 2\ncards:\n{CARD}")
    write(tmp_path, f"module: 3\ncards:\n{CARD}", "03-cuda-kernels")
    with pytest.raises(CourseError, match="two cards have the id a: in 02-core-concepts and in 03-cuda-kernels"):
        deck.cards(tmp_path)


def test_complaints_name_the_card() -> None:
    cards = [deck.Card("a", 2, "m", "p", "Which?", "`no/such.py`"), deck.Card("b", 2, "m", "p", "Which?", "That.")]
    assert list(deck.complaints(cards)) == ["card a: `no/such.py` is no file", "card b: asks what a asks"]
