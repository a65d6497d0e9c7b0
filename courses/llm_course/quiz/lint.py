"""Signs of a weak question: a right option that stands out, a reason without evidence, options about options."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from llm_course.prose import references
from llm_course.prose.figures import PLACEHOLDER
from llm_course.quiz.questions import AnyQuestion, Choice, Code, Number, Short
from llm_course.quiz.reading import Bank

ABOUT_OPTIONS = re.compile(r"\b(all|none|both|neither|any) of (the above|these|them)\b|\bI don't know\b", re.IGNORECASE)
EVIDENCE = re.compile(r"`[^`]+`|\d|\{\w+\}")
"""A reason names code or a number, which can be a parameter's."""
MOST_LENGTH_RATIO = 2.2
FEWEST_LENGTH_DIFFERENCE = 24
"""Characters: options may differ by this much whatever their ratio."""


def complaints(bank: Bank) -> Iterator[str]:
    """Say what to mend, one line each."""
    for question in bank.questions:
        for text in _question(bank, question):
            yield f"{question.id}: {text}"
    yield from _standing_out(bank)


def _question(bank: Bank, question: AnyQuestion) -> Iterator[str]:
    if isinstance(question, Choice):
        yield from _options(question)
    reasons = list(_reasons(question))
    if len(set(reasons)) < len(reasons):
        yield "two reasons are the same; each mistake has its own"
    for reason in reasons:
        if not EVIDENCE.search(reason):
            yield f"the reason {reason!r} names no file, symbol or number"
    known = set(bank.variants[question.id][0].values) if isinstance(question, Number) else set()
    for text in texts(question):
        yield from references.complaints(text)
        if not isinstance(question, Code):
            yield from (
                f"{{{name}}} is no parameter and no figure" for name in PLACEHOLDER.findall(text) if name not in known
            )


def _options(question: Choice) -> Iterator[str]:
    lengths = [len(option.text) for option in question.options]
    if max(lengths) > MOST_LENGTH_RATIO * min(lengths) and max(lengths) - min(lengths) > FEWEST_LENGTH_DIFFERENCE:
        yield f"options of {min(lengths)} to {max(lengths)} characters; make them alike"
    for option in question.options:
        if ABOUT_OPTIONS.search(option.text):
            yield f"{option.text!r} is about other options, whose places are drawn"


def _standing_out(bank: Bank) -> Iterator[str]:
    """Complain if the right option is the longest, or the shortest, in over one question more than chance gives."""
    singles = [q for q in bank.questions if isinstance(q, Choice) and q.kind == "single"]
    chance = sum(1 / len(question.options) for question in singles)
    for word, pick in (("longest", max), ("shortest", min)):
        stands_out = [question.id for question in singles if _is_alone(question, pick)]
        if len(stands_out) > chance + 1:
            yield (
                f"the right option is the {word} in {len(stands_out)} of {len(singles)} questions, by chance in "
                f"{chance:.1f}: {', '.join(stands_out)}"
            )


def _is_alone(question: Choice, pick: Callable[[list[int]], int]) -> bool:
    lengths = [len(option.text) for option in question.options]
    extreme = pick(lengths)
    right = next(len(option.text) for option in question.options if option.right)
    return right == extreme and lengths.count(extreme) == 1


def _reasons(question: AnyQuestion) -> Iterator[str]:
    if isinstance(question, Choice):
        yield from (option.why for option in question.options)
    elif isinstance(question, Number | Short):
        yield from (wrong.why for wrong in question.wrong)
        yield question.why
    else:
        yield from (mistake.why for mistake in question.mistakes)
        yield question.why


def texts(question: AnyQuestion) -> Iterator[str]:
    """Return every text of the question that a learner reads."""
    yield question.ask
    yield from _reasons(question)
    if isinstance(question, Choice):
        yield from (option.text for option in question.options)
    if isinstance(question, Code):
        yield from (question.starter, question.solution)
