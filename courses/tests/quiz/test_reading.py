"""A quiz file is read, or every one of its mistakes is named by question and field."""

from __future__ import annotations

from pathlib import Path

import pytest

from llm_course.errors import CourseError
from llm_course.quiz import reading

GOOD = """
module: 2
questions:
  - id: a
    page: p
    kind: single
    ask: Which?
    options:
      - {text: one, right: true, why: because}
      - {text: two, why: not 2}
      - {text: three, why: not 3}
  - id: b
    page: p
    kind: short
    ask: Term?
    accept: [x]
    example: x
    why: so
  - id: c
    page: p
    kind: number
    ask: "{n}?"
    given: {n: [1, 2]}
    answer: n
    wrong: [{answer: n + 1, why: one more}]
    why: "{n}"
"""


def test_a_file_is_read_with_its_variants(tmp_path: Path) -> None:
    path = tmp_path / "02-core-concepts" / "quiz.yaml"
    path.parent.mkdir()
    path.write_text(GOOD, encoding="utf-8")
    bank = reading.read(path)
    assert [question.id for question in bank.questions] == ["a", "b", "c"]
    assert sorted(variant.answer for variant in bank.variants["c"]) == [1, 2]
    assert [reading.bank_of(2, tmp_path).module, len(reading.banks(tmp_path))] == [2, 1]
    with pytest.raises(CourseError, match="module 3 has no quiz; these have one: 2"):
        reading.bank_of(3, tmp_path)


def test_a_file_in_another_modules_folder_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "03-cuda-kernels" / "quiz.yaml"
    path.parent.mkdir()
    path.write_text(GOOD, encoding="utf-8")
    with pytest.raises(CourseError, match="says module 2"):
        reading.read(path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("module: 2", "module: 12", "q: module: "),
        ("why: because", "because: y", "q: question a, options, 1, why: Field required"),
        ("right: true", "right: false", "question a: Value error, 0 options are right"),
        ("text: two", "text: one", "two options have the same text"),
        ("kind: single", "kind: guess", "q: question a: "),
        ("kind: single", "kind: multiple", "1 of 3 options are right"),
        ("id: b", "id: a", "two questions have the id a"),
        ("id: b", "id: B b", "question B b, id: "),
        ("accept: [x]", "accept: ['(']", "question b: Value error, pattern"),
        ("kind: number", "kind: trace", "belong to a trace question"),
        ("answer: n\n", "answer: n\n    solution: 1\n", "question c, solution: Extra inputs"),
        ("ask: Which?", "ask: 'Which", "no YAML"),
    ],
)
def test_mistakes_are_named(old: str, new: str, message: str) -> None:
    assert old in GOOD
    with pytest.raises(CourseError, match=message.replace("?", r"\?")):
        reading.parse(GOOD.replace(old, new, 1), "q")


def test_figures_go_into_every_text() -> None:
    figure = "figures: {r: 'services/engine/results/continuous_batching.json :: requests'}\n"
    quiz = reading.parse(figure + GOOD.replace("ask: Which?", "ask: Which of {r}?"), "q")
    assert quiz.questions[0].ask == "Which of 96?"
