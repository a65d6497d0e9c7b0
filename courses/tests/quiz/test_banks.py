"""The quizzes that there are: 20 questions a module, kinds as promised, every question and card sound."""

from __future__ import annotations

from collections import Counter

import pytest

from llm_course import syllabus
from llm_course.cards import deck
from llm_course.paths import DOCS, ROOT
from llm_course.quiz import lint, reading

BANKS = reading.banks()
KINDS = {"single": (7, 9), "multiple": (3, 5), "number": (3, 5), "short": (0, 2), "code": (2, 2), "trace": (2, 2)}
by_module = pytest.mark.parametrize("bank", BANKS, ids=lambda bank: str(bank.module))


@by_module
def test_twenty_questions_of_all_kinds(bank: reading.Bank) -> None:
    kinds = Counter(question.kind for question in bank.questions)
    assert sum(kinds.values()) == 20
    for kind, (low, high) in KINDS.items():
        assert low <= kinds[kind] <= high, kind


# Reasons name files of the whole repository; a sandbox has only a part of it, and .ci/run checks them there.
@pytest.mark.skipif(not (ROOT / "CONTRIBUTING.md").exists(), reason="not the whole repository; see ./lab quiz check")
def test_no_complaints() -> None:
    assert [text for bank in BANKS for text in lint.complaints(bank)] == []
    assert list(deck.complaints(deck.cards())) == []


@by_module
def test_every_page_has_questions_and_five_cards_or_more(bank: reading.Bank) -> None:
    pages = {question.page for question in bank.questions}
    cards = Counter(card.page for card in deck.cards() if card.module == bank.module)
    assert set(cards) == pages
    assert min(cards.values()) >= 5
    there = {path.stem for path in (DOCS / "modules" / bank.folder.name).glob("*.md")} - {"index"}
    assert pages <= there or not there  # questions can be there before the pages


@by_module
def test_the_folder_is_the_syllabus_module(bank: reading.Bank) -> None:
    assert bank.folder.name == syllabus.load().module(bank.module).slug
