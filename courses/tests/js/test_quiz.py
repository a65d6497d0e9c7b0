"""The browser judges answers as llm_course.quiz.session does, for every question of every quiz."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support_node import in_browser, needs_node

from llm_course.prose import html
from llm_course.quiz import page, reading, session
from llm_course.quiz.questions import Choice, Number, Short
from llm_course.quiz.variants import show

pytestmark = needs_node
BANKS = reading.banks()
JUDGE = """
return given.asked.map(([id, variant, answer]) => {
  const question = given.quiz.questions.find((each) => each.id === id);
  const item = {question, variant: question.variants ? question.variants[variant] : null};
  return course.quiz.judge(item, answer);
});
"""


@pytest.mark.parametrize("bank", BANKS, ids=lambda bank: str(bank.module))
def test_verdicts_are_pythons(bank: reading.Bank) -> None:
    asked: list[tuple[str, int, Any]] = []
    wanted: list[bool | None] = []
    for question in bank.questions:
        if isinstance(question, Choice):
            for chosen in [[option] for option in question.options] + [[o for o in question.options if o.right]]:
                asked.append((question.id, 0, [html.inline(option.text) for option in chosen]))
                wanted.append(session.judge_choice(question, chosen).right)
        elif isinstance(question, Number):
            for index, variant in enumerate(bank.variants[question.id]):
                for value in (variant.answer, *variant.wrong, variant.answer + 1):
                    text = f"{show(value)} {question.unit}"
                    verdict = session.judge_number(question, variant, text)
                    asked.append((question.id, index, text))
                    wanted.append(verdict and verdict.right)
        elif isinstance(question, Short):
            for text in (question.example, question.example.upper(), *(wrong.example for wrong in question.wrong), "?"):
                asked.append((question.id, 0, text))
                wanted.append(session.judge_short(question, text).right)
    verdicts = in_browser(JUDGE, {"quiz": page.data(bank), "asked": asked})
    assert [verdict and verdict["right"] for verdict in verdicts] == wanted
    assert {True, False} <= set(wanted)
    assert all(verdict["reasons"] for verdict in verdicts)
    assert not any("{" in reason for verdict in verdicts for reason in verdict["reasons"])


@pytest.mark.parametrize(
    "text",
    [
        "17",
        " 1,024 ",
        "1 024",
        "1_024",
        "0,5",
        ".5",
        "-3",
        "1e3",
        "12 ms",
        "12ms",
        "80%",
        "",
        "x",
        "1,2,3",
        "1.2.3",
        "inf",
    ],
)
def test_numbers_are_read_as_in_python(text: str) -> None:
    found = in_browser("return course.quiz.toNumber(given, 'ms');", text)
    assert found == session.to_number(text, "ms")


def test_an_attempt_has_every_question_once_and_the_same_seed_gives_the_same() -> None:
    code = """
    const shown = (item) => [item.question.id, item.options.map((option) => option.text)];
    const draw = (seed) => course.quiz.draw(given, seed).map(shown);
    const wide = new Set();
    for (let seed = 0; seed < 40; seed += 1) wide.add(draw(seed)[0][0]);
    return [draw(7), draw(7), draw(8), wide.size];
    """
    quiz = page.data(BANKS[0])
    first, again, other, different_starts = in_browser(code, quiz)
    assert first == again != other
    assert sorted(name for name, _ in first) == sorted(question["id"] for question in quiz["questions"])
    assert different_starts > 8


def test_the_standing_counts_finished_attempts_only() -> None:
    code = """
    course.log.add("quiz", "2", {event: "answered", question: "a", right: true});
    const before = course.quiz.standing(course.log, "2");
    course.log.add("quiz", "2", {event: "finished", score: 17, of: 20});
    course.log.add("quiz", "2", {event: "finished", score: 12, of: 20});
    return [before, course.quiz.standing(course.log, "2")];
    """
    assert in_browser(code) == [{"best": None, "tries": 0}, {"best": 85, "tries": 2}]
