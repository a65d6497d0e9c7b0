"""Every program of the quizzes: its solution passes, each mistake and the starter fail."""

from __future__ import annotations

import pytest

from llm_course.quiz import code, reading
from llm_course.quiz.questions import Code

QUESTIONS = [question for bank in reading.banks() for question in bank.questions if isinstance(question, Code)]


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question.id)
def test_the_solution_passes_and_mistakes_fail_with_a_reason(question: Code) -> None:
    assert code.run(question, question.solution) == code.Run(True, "")
    assert not code.run(question, question.starter).passed
    for mistake in question.mistakes:
        failed = code.run(question, mistake.code)
        assert not failed.passed
        assert len(failed.message.split()) > 4, f"an assertion of {question.id} gives no reason: {failed.message!r}"
        assert "Error" not in failed.message, f"a mistake of {question.id} does not even run: {failed.message}"
    assert 3 <= len(question.solution.strip().splitlines()) <= 10


def test_a_program_that_does_not_end_or_parse_fails() -> None:
    question = QUESTIONS[0]
    assert code.run(question, "while True: pass", timeout=0.5) == code.Run(False, "It did not end within 0 seconds.")
    assert "SyntaxError" in code.run(question, "def (").message
