"""The lint finds what makes a question easy to guess."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from llm_course.quiz import lint
from llm_course.quiz.questions import Quiz
from llm_course.quiz.reading import Bank


def bank(*questions: dict[str, Any]) -> Bank:
    quiz = Quiz.model_validate({"module": 2, "questions": list(questions)})
    return Bank(quiz, Path(), {}, {})


def single(name: str = "q", **changes: Any) -> dict[str, Any]:
    texts = changes.pop("texts", ["first of all", "second thing", "third things"])
    whys = changes.pop("whys", ["because of 1", "because of 2", "because of 3"])
    options = [
        {"text": text, "why": why, "right": i == 0} for i, (text, why) in enumerate(zip(texts, whys, strict=True))
    ]
    return {"id": name, "page": "p", "kind": "single", "ask": "Which?", "options": options} | changes


def test_a_sound_question_passes() -> None:
    assert list(lint.complaints(bank(single()))) == []


@pytest.mark.parametrize(
    ("question", "complaint"),
    [
        (single(whys=["because of 1", "because of 2", "because of 2"]), "two reasons are the same"),
        (single(whys=["because of 1", "because of 2", "because it is not"]), "names no file, symbol or number"),
        (single(texts=["first", "second", "All of the above"]), "is about other options"),
        (single(texts=["first", "second", "third " * 20]), "make them alike"),
        (single(ask="Where is `no/such/file.py`?"), "`no/such/file.py` is no file"),
        (single(ask="What of {this}?"), "{this} is no parameter and no figure"),
    ],
)
def test_weak_questions_are_named(question: dict[str, Any], complaint: str) -> None:
    (found,) = lint.complaints(bank(question))
    assert found.startswith("q: ")
    assert complaint in found


@pytest.mark.parametrize(
    ("texts", "word"), [(["longer one", "short", "brief"], "longest"), (["a", "longer", "brief"], "shortest")]
)
def test_a_right_option_that_stands_out_too_often_is_told(texts: list[str], word: str) -> None:
    questions = [single(f"q{i}", texts=texts) for i in range(6)]
    (found,) = lint.complaints(bank(*questions))
    assert f"the right option is the {word} in 6 of 6 questions, by chance in 2.0" in found
    assert list(lint.complaints(bank(*questions[:1], single("r"), single("s")))) == []
