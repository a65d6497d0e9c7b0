"""One attempt at a quiz, and the verdict on an answer.

Questions come in a fresh order, options in fresh places, and parameters are drawn anew.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

from llm_course.prose.figures import fill
from llm_course.quiz.formula import Value
from llm_course.quiz.questions import AnyQuestion, Choice, Number, Option, Short
from llm_course.quiz.reading import Bank
from llm_course.quiz.variants import Variant, matches, show

THOUSANDS = re.compile(r"-?\d{1,3}([,_ ]\d{3})+(\.\d+)?")


@dataclass(frozen=True, slots=True)
class Asked:
    """A question as one attempt asks it."""

    question: AnyQuestion
    options: Sequence[Option] = ()
    """In the order shown."""
    variant: Variant | None = None
    excerpt: str = ""

    def text(self, text: str) -> str:
        """Return one of the question's texts with the drawn parameters in it."""
        return fill(text, self.variant.texts) if self.variant else text


@dataclass(frozen=True, slots=True)
class Verdict:
    right: bool
    reasons: list[str]
    """Markdown; at least one."""
    answer: str
    """The right answer in a line; empty where the reasons name it."""


def draw(bank: Bank, rng: random.Random, questions: Sequence[AnyQuestion] | None = None) -> list[Asked]:
    """Return the questions, all of the bank's by default, in an order of this attempt."""
    chosen = list(bank.questions if questions is None else questions)
    rng.shuffle(chosen)
    return [_ask(bank, question, rng) for question in chosen]


def _ask(bank: Bank, question: AnyQuestion, rng: random.Random) -> Asked:
    if isinstance(question, Choice):
        return Asked(question, rng.sample(question.options, len(question.options)))
    if isinstance(question, Number):
        return Asked(question, (), rng.choice(bank.variants[question.id]), bank.excerpts.get(question.id, ""))
    return Asked(question)


def judge_choice(question: Choice, chosen: Sequence[Option]) -> Verdict:
    """Right if exactly the right options are chosen; the reasons are those of every option chosen or missed."""
    right = [option for option in question.options if option.right]
    is_right = [option for option in question.options if option in chosen] == right
    if question.kind == "multiple":
        return Verdict(is_right, [_named(option) for option in question.options if option in (*chosen, *right)], "")
    reasons = [option.why for option in chosen]
    return Verdict(is_right, reasons if is_right else [*reasons, *map(_named, right)], "")


def _named(option: Option) -> str:
    return f"**{option.text}:** {option.why}"


def judge_number(question: Number, variant: Variant, given: str) -> Verdict | None:
    """Return None if what was written is no number."""
    value = to_number(given, question.unit)
    if value is None:
        return None
    answer = f"{show(variant.answer)} {question.unit}".strip()
    why = fill(question.why, variant.texts)
    if matches(value, variant.answer, question.tolerance):
        return Verdict(True, [why], answer)
    for known, wrong in zip(question.wrong, variant.wrong, strict=True):
        if matches(value, wrong, question.tolerance):
            return Verdict(False, [fill(known.why, variant.texts), why], answer)
    return Verdict(False, [why], answer)


def judge_short(question: Short, given: str) -> Verdict:
    words = normal(given)
    if any(fits(pattern, words) for pattern in question.accept):
        return Verdict(True, [question.why], question.example)
    reasons = [wrong.why for wrong in question.wrong if fits(wrong.pattern, words)][:1]
    return Verdict(False, [*reasons, question.why], question.example)


def fits(pattern: str, words: str) -> bool:
    return re.fullmatch(pattern, words, re.IGNORECASE) is not None


def normal(text: str) -> str:
    """Return the answer without backticks, outer blanks and repeated ones."""
    return " ".join(text.replace("`", "").split())


def to_number(text: str, unit: str = "") -> Value | None:
    """Read a number as people write it, or return None: 1,024 or 1 024, 0.5 or 0,5, with or without its unit."""
    words = normal(text)
    for tail in (unit, "%"):
        if tail and words.lower().endswith(tail.lower()):
            words = words[: -len(tail)].strip()
    words = re.sub(r"[,_ ]", "", words) if THOUSANDS.fullmatch(words) else words.replace(",", ".")
    try:
        value = float(words)
    except ValueError:
        return None
    return value if abs(value) < float("inf") else None
