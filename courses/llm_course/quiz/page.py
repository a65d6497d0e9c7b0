"""The quizzes as the browser reads them: `docs/assets/generated/quiz-02.js`, one call of `course.registerQuiz` a file.

Texts are HTML. A number question comes with all of its variants, so that the browser computes nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from llm_course import syllabus
from llm_course.prose import html
from llm_course.quiz import reading
from llm_course.quiz.questions import AnyQuestion, Choice, Number, Short
from llm_course.quiz.reading import Bank

Data = dict[str, Any]


def scripts() -> dict[str, str]:
    """Return a file for each module's quiz: its name -> its text."""
    return {
        f"quiz-{bank.module:02}.js": html.script("registerQuiz", str(bank.module), data(bank))
        for bank in reading.banks()
    }


def write_quizzes(target: Path) -> list[Path]:
    """Write the scripts into the folder `target`, and return their paths."""
    return html.write(target, scripts())


def data(bank: Bank) -> Data:
    module = syllabus.load().module(bank.module)
    return {
        "module": bank.module,
        "title": module.title,
        "slug": module.slug,
        "pass": module.pass_mark,
        "questions": [_question(bank, question) for question in bank.questions],
    }


def _question(bank: Bank, question: AnyQuestion) -> Data:
    common = {"id": question.id, "page": question.page, "kind": question.kind, "ask": html.block(question.ask)}
    if isinstance(question, Choice):
        return common | {
            "options": [
                {"text": html.inline(option.text), "right": option.right, "why": html.inline(option.why)}
                for option in question.options
            ]
        }
    if isinstance(question, Number):
        return common | _number(bank, question)
    if isinstance(question, Short):
        return common | {
            "accept": question.accept,
            "answer": html.inline(question.example),
            "why": html.inline(question.why),
            "wrong": [{"pattern": wrong.pattern, "why": html.inline(wrong.why)} for wrong in question.wrong],
        }
    return common | {
        "starter": question.starter,
        "solution": question.solution,
        "why": html.inline(question.why),
        "mistakes": [{"code": each.code, "why": html.inline(each.why)} for each in question.mistakes],
    }


def _number(bank: Bank, question: Number) -> Data:
    return {
        "unit": question.unit,
        "tolerance": question.tolerance,
        "why": html.inline(question.why),
        "wrong": [html.inline(wrong.why) for wrong in question.wrong],
        "excerpt": html.block(bank.excerpts.get(question.id, "")),
        "variants": [
            {"texts": variant.texts, "answer": variant.answer, "wrong": variant.wrong}
            for variant in bank.variants[question.id]
        ],
    }
