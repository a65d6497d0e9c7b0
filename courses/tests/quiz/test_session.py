"""An attempt has its own order; answers are judged with the reasons of what was chosen and missed."""

from __future__ import annotations

import random

import pytest

from llm_course.quiz import reading, session
from llm_course.quiz.questions import Choice, Number, Short
from llm_course.quiz.variants import variants

OPTIONS = [
    {"text": "a", "right": True, "why": "A is right"},
    {"text": "b", "why": "B is not"},
    {"text": "c", "right": True, "why": "C is right"},
    {"text": "d", "why": "D is not"},
]
SEVERAL = Choice.model_validate({"id": "s", "page": "p", "ask": "?", "kind": "multiple", "options": OPTIONS})
NUMBER = Number.model_validate(
    {
        "id": "n",
        "page": "p",
        "ask": "{n}?",
        "kind": "number",
        "given": {"n": [10]},
        "answer": "n * 2",
        "unit": "ms",
        "wrong": [{"answer": "n", "why": "half of {n}"}],
        "why": "twice {n}",
    }
)
SHORT = Short.model_validate(
    {
        "id": "t",
        "page": "p",
        "ask": "?",
        "kind": "short",
        "accept": ["-{0,2}flag"],
        "example": "`--flag`",
        "wrong": [{"pattern": "-{0,2}fag", "example": "fag", "why": "a letter"}],
        "why": "so it is",
    }
)


def test_orders_and_places_differ_between_attempts() -> None:
    bank = reading.bank_of(2)
    one, other = session.draw(bank, random.Random(1)), session.draw(bank, random.Random(2))
    assert [item.question.id for item in one] != [item.question.id for item in other]
    assert {item.question.id for item in one} == {question.id for question in bank.questions}
    assert session.draw(bank, random.Random(1)) == one
    first = {item.options.index(next(o for o in item.options if o.right)) for item in one if item.options}
    assert len(first) > 1


def test_a_drawn_question_has_its_parameters_in_the_text() -> None:
    bank = reading.bank_of(2)
    for item in session.draw(bank, random.Random(3)):
        if item.variant is not None:
            assert "{" not in item.text(item.question.ask)


def test_several_right_options_are_all_needed() -> None:
    a, b, c, _ = SEVERAL.options
    assert session.judge_choice(SEVERAL, [c, a]).right
    verdict = session.judge_choice(SEVERAL, [a, b])
    assert not verdict.right
    assert verdict.reasons == ["**a:** A is right", "**b:** B is not", "**c:** C is right"]


def test_a_number_is_right_with_or_without_its_unit() -> None:
    (variant,) = variants(NUMBER)
    for given in ("20", "20 ms", "20ms", " 20.0 "):
        verdict = session.judge_number(NUMBER, variant, given)
        assert verdict is not None
        assert verdict.right
    assert session.judge_number(NUMBER, variant, "many") is None


def test_a_known_wrong_number_has_its_own_reason() -> None:
    (variant,) = variants(NUMBER)
    verdict = session.judge_number(NUMBER, variant, "10")
    assert verdict == session.Verdict(False, ["half of 10", "twice 10"], "20 ms")
    assert session.judge_number(NUMBER, variant, "11") == session.Verdict(False, ["twice 10"], "20 ms")


def test_words_are_accepted_by_pattern() -> None:
    assert session.judge_short(SHORT, " `--Flag` ").right
    assert not session.judge_short(SHORT, "--flags").right
    assert session.judge_short(SHORT, "fag").reasons == ["a letter", "so it is"]


@pytest.mark.parametrize(
    ("text", "value"),
    [("17", 17), ("1,024", 1024), ("1 024", 1024), ("0,5", 0.5), (".5", 0.5), ("-3", -3), ("1e3", 1000), ("80%", 80)],
)
def test_numbers_as_people_write_them(text: str, value: float) -> None:
    assert session.to_number(text) == value


@pytest.mark.parametrize("text", ["", "x", "1.2.3", "inf", "nan", "1,2,3"])
def test_what_is_no_number(text: str) -> None:
    assert session.to_number(text) is None
