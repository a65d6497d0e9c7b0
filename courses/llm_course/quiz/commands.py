"""`./lab quiz 2`: a module's quiz in the terminal; `./lab quiz check`: what authors have to mend."""

from __future__ import annotations

import argparse
import random
from functools import partial

from rich.console import Console

from llm_course import syllabus
from llm_course.errors import CourseError, UsageError
from llm_course.paths import LEARN
from llm_course.progress.commands import LOG
from llm_course.progress.log import Log
from llm_course.quiz import lint, reading
from llm_course.quiz.session import draw
from llm_course.quiz.terminal import Quit, Terminal


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    quiz = commands.add_parser("quiz", help="answer a module's quiz in the terminal")
    quiz.add_argument("module", help="number of the module, or `check` to check all quizzes")
    quiz.add_argument(
        "questions", nargs="*", default=[], metavar="ID", help="only these questions; no score is noted then"
    )
    quiz.add_argument("--missed", action="store_true", help="only the questions answered wrongly the last time")
    quiz.add_argument("--seed", type=int, help="the same order, positions and parameters each time")
    quiz.set_defaults(command=_run)


def _run(arguments: argparse.Namespace) -> None:
    if arguments.module == "check":
        _check()
    elif arguments.module.isdigit():
        _attempt(int(arguments.module), arguments)
    else:
        raise UsageError(f"{arguments.module!r} is no module; write its number, e.g. ./lab quiz 2")


def _attempt(module: int, arguments: argparse.Namespace) -> None:
    bank, log, console = reading.bank_of(module), Log(LOG), Console()
    ids = list(arguments.questions) or (missed(log, module) if arguments.missed else [])
    unknown = set(ids) - {question.id for question in bank.questions}
    if unknown:
        raise UsageError(f"module {module} has no question {', '.join(sorted(unknown))}")
    if arguments.missed and not ids:
        console.print("No question of this module was answered wrongly the last time.")
        return
    questions = bank.quiz.pick(ids) if ids else None
    asked = draw(bank, random.Random(arguments.seed), questions)
    terminal = Terminal(console, partial(console.input, markup=False), LEARN / "quiz")
    console.print(f"{len(asked)} questions; q leaves. Answers are noted as you give them.")
    try:
        right = terminal.attempt(module, asked, log, whole=not ids)
    except Quit:
        console.print("Left; the answers so far are noted.")
        return
    console.print(result(right, len(asked), syllabus.load().module(module).pass_mark if not ids else None))


def result(right: int, of: int, pass_mark: int | None) -> str:
    share = 100 * right / of
    text = f"{right} of {of} right ({share:.0f}%)"
    if pass_mark is None:
        return f"{text}."
    return f"{text}: passed." if share >= pass_mark else f"{text}; {pass_mark}% passes. Try again: the order is new."


def missed(log: Log, module: int) -> list[str]:
    """Return the questions whose last answer was wrong."""
    last = {
        event.facts["question"]: event.facts["right"]
        for event in log.of("quiz", str(module))
        if "question" in event.facts
    }
    return [question for question, right in last.items() if not right]


def _check() -> None:
    found = [f"module {bank.module}: {text}" for bank in reading.banks() for text in lint.complaints(bank)]
    if found:
        raise CourseError("\n".join(found))
    print(", ".join(f"module {bank.module}: {len(bank.questions)} questions" for bank in reading.banks()))
