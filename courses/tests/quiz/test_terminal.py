"""A quiz in the terminal, from the first question to the log."""

from __future__ import annotations

import io
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from llm_course.progress.log import Log
from llm_course.quiz import commands, reading
from llm_course.quiz.questions import Choice, Code, Short
from llm_course.quiz.session import Asked, draw
from llm_course.quiz.terminal import LETTERS, Quit, Terminal
from llm_course.quiz.variants import show


def answers(asked: list[Asked], folder: Path, right: bool) -> Iterator[str]:
    """Type what is right, or something that is not."""
    for item in asked:
        question = item.question
        if isinstance(question, Choice):
            wanted = [option.right for option in item.options]
            chosen = [i for i, good in enumerate(wanted) if good == right][: None if right else 1]
            yield "".join(LETTERS[i] for i in chosen)
        elif isinstance(question, Short):
            yield question.example if right else "?"
        elif isinstance(question, Code):
            if right:
                (folder / f"{question.id.replace('-', '_')}.py").write_text(question.solution, encoding="utf-8")
            yield ""
        else:
            assert item.variant is not None
            yield "x"
            yield show(item.variant.answer if right else item.variant.wrong[0])


@pytest.mark.parametrize(("right", "score"), [(True, 20), (False, 0)])
def test_a_whole_attempt_is_noted(tmp_path: Path, right: bool, score: int) -> None:
    bank, log, out = reading.bank_of(2), Log(tmp_path / "log"), io.StringIO()
    asked = draw(bank, random.Random(5))
    lines = answers(asked, tmp_path, right)
    terminal = Terminal(Console(file=out, width=100), lambda prompt: next(lines), tmp_path)
    assert terminal.attempt(2, asked, log, whole=True) == score
    noted = [event.facts for event in log.of("quiz", "2")]
    assert noted[-1] == {"event": "finished", "score": score, "of": 20}
    assert [facts["right"] for facts in noted[:-1]] == [right] * 20
    assert ("No" if right else "Right") not in {line.strip("╭─╮ ") for line in out.getvalue().splitlines()}
    assert commands.missed(log, 2) == ([] if right else [item.question.id for item in asked])


def test_leaving_keeps_what_is_answered(tmp_path: Path) -> None:
    bank, log = reading.bank_of(1), Log(tmp_path / "log")
    asked = [item for item in draw(bank, random.Random(1)) if isinstance(item.question, Choice)][:2]
    lines = iter([*answers(asked[:1], tmp_path, True), "q"])
    terminal = Terminal(Console(file=io.StringIO()), lambda prompt: next(lines), tmp_path)
    with pytest.raises(Quit):
        terminal.attempt(1, asked, log, whole=True)
    assert [event.facts["event"] for event in log.of("quiz")] == ["answered"]


def test_the_result_says_whether_the_mark_is_reached() -> None:
    assert commands.result(17, 20, 85) == "17 of 20 right (85%): passed."
    assert commands.result(16, 20, 85) == "16 of 20 right (80%); 85% passes. Try again: the order is new."
    assert commands.result(1, 2, None) == "1 of 2 right (50%)."
