"""`./lab exercise`: work on an exercise, and keep the exercises right."""

from __future__ import annotations

import argparse
import os
import re
import sys
from typing import NoReturn

from rich.console import Console
from rich.table import Table

from llm_course import paths
from llm_course.errors import CourseError, UsageError
from llm_course.exercises import faults
from llm_course.exercises.exercise import Exercise, find, read_all
from llm_course.exercises.grading import grade_apart
from llm_course.exercises.report import describe_report
from llm_course.exercises.session import Session, current, state
from llm_course.exercises.subject import LEARNER
from llm_course.exercises.work import Work
from llm_course.progress.log import Log

NUMBER = re.compile(r"\d+\.\d+")
BEFORE_FAULTS = "4.4"
"""The exercise that the fault lab follows in the list."""


class OneLineParser(argparse.ArgumentParser):
    """A parser whose complaint is one line."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; {self.prog} --help")


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    exercise = commands.add_parser("exercise", help="work on an exercise: save, and its tests run", add_help=False)
    exercise.add_argument("-h", "--help", action="store_true")
    exercise.add_argument("words", nargs=argparse.REMAINDER)
    exercise.set_defaults(command=_dispatch)


def _dispatch(arguments: argparse.Namespace) -> None:
    """`./lab exercise` and `./lab exercise 2.3` watch; any other first word is an action."""
    words = ["--help"] if arguments.help else arguments.words
    if not words or NUMBER.fullmatch(words[0]):
        words = ["watch", *words]
    parsed = _parser().parse_args(words)
    parsed.action(parsed)


def _parser() -> argparse.ArgumentParser:
    parser = OneLineParser(
        prog="./lab exercise",
        description="Work on an exercise. Without an action: watch the one that was opened last, or the one named.",
    )
    actions = parser.add_subparsers(metavar="ACTION", required=True, parser_class=OneLineParser)

    def action(name: str, run, text: str, number: str | None = "?") -> argparse.ArgumentParser:  # type: ignore[no-untyped-def]
        added: argparse.ArgumentParser = actions.add_parser(name, help=text, description=text)
        if number is not None:
            added.add_argument("number", nargs=number, help="such as 2.3; default: the one opened last")
        added.set_defaults(action=run)
        return added

    action("list", _list, "all exercises, and how far you are", number=None)
    action("watch", _watch, "save, and the tests run; keys do the rest")
    run = action("run", _run, "run the tests once")
    run.add_argument("--subject", default=LEARNER, help="instead of yours: solution, starter or wrong/NAME")
    action("hint", _hint, "the next of three hints")
    predict = action("predict", _predict, "commit to the number that the exercise asks for", number=None)
    predict.add_argument("number")
    predict.add_argument("value")
    action("solution", _solution, "show the solution; the log says that you did")
    action("reset", _reset, "begin again; your work moves to learn/.trash")
    diff = action("diff", _diff, "what you changed, and what the starter changed since you began")
    diff.add_argument("--take", action="store_true", help="put the starter's changes into your file")
    edit = action("edit", _edit, "take over a module of the engine, an exercise's or any", number=None)
    edit.add_argument("what", nargs="?", help="2.3, or a module such as scheduler/scheduler.py; default: list yours")
    edit.add_argument("--back", action="store_true", help="go back to ours; yours moves to learn/.trash")
    action("engine", _engine, "print the folder of the engine with your modules, for PYTHONPATH", number=None)
    action("test-out", _test_out, "show that you can skip the exercise's page: pass it without help")
    verify = action("verify", _verify, "every gate of every exercise, or of those named", number="*")
    verify.add_argument("--write", action="store_true", help="put what the tests print into the tasks first")
    return parser


def _list(_: argparse.Namespace) -> None:
    log = _log()
    table = Table(box=None, pad_edge=False)
    for title in ("", "exercise", "path", "hours", "state"):
        table.add_column(title, justify="right" if title == "hours" else "left")
    for exercise in read_all():
        facts = exercise.facts
        table.add_row(facts.number, facts.title, facts.path, f"{facts.hours:g}", state(log, facts.number))
        if facts.number == BEFORE_FAULTS:
            table.add_row(*_faults(log))
    Console(highlight=False).print(table)


def _faults(log: Log) -> tuple[str, ...]:
    """Return the row of the fault lab, which has a command of its own."""
    lab = faults.FaultLab(log)
    required = [fault for fault in faults.read_all() if fault.facts.required]
    mended = sum(lab.state(fault) == "mended" for fault in required)
    hours = len(required) * faults.HOURS_PER_FAULT
    return (
        faults.EXERCISE,
        "Defects in a running engine: ./lab fault",
        "core",
        f"{hours:g}",
        f"{mended} of {len(required)}",
    )


def _watch(arguments: argparse.Namespace) -> None:
    from llm_course.exercises.watch import Watch  # needs a terminal, which not every system has

    exercise, log = _chosen(arguments.number), _log()
    Watch(Console(highlight=False), read_all(), Work(), log).run(exercise)


def _run(arguments: argparse.Namespace) -> None:
    exercise = _chosen(arguments.number)
    if arguments.subject == LEARNER:
        session = Session(exercise, Work(), _log())
        if session.is_new:
            file, task = (os.path.relpath(path) for path in (session.work.file(exercise), exercise.folder / "task.md"))
            print(f"Your file is {file}, its task {task}.\n")
        if session.wants_prediction and exercise.facts.prediction:
            print(f"{exercise.facts.prediction.question}  ./lab exercise predict {exercise.number} …")
        report, predicted = session.run()
    else:
        report, predicted = grade_apart(exercise, arguments.subject), None
    print(describe_report(exercise, report))
    if predicted is not None:
        print(predicted)
    if not report.passed:
        raise CourseError(f"exercise {exercise.number} does not pass yet")


def _hint(arguments: argparse.Namespace) -> None:
    level, text = _session(arguments.number).hint()
    print(f"hint {level}\n\n{text}")


def _predict(arguments: argparse.Namespace) -> None:
    from llm_course.exercises.watch import number

    session, value = _session(arguments.number), number(arguments.value)
    session.predict(value)
    unit = session.exercise.facts.prediction.unit if session.exercise.facts.prediction else ""
    print(f"Noted: {value:g} {unit}. The first pass shows the tests' number.")


def _solution(arguments: argparse.Namespace) -> None:
    print(_session(arguments.number).solution(), end="")


def _reset(arguments: argparse.Namespace) -> None:
    print(_session(arguments.number).reset())


def _diff(arguments: argparse.Namespace) -> None:
    exercise, work = _chosen(arguments.number), Work()
    if arguments.take:
        print(f"the starter's changes are in your file; the file as it was is in {work.take(exercise)}")
        return
    print(work.diff(exercise) or "your file is the starter")
    if work.starter_has_changed(exercise):
        print(f"\nThe starter has changed since you began: ./lab exercise diff {exercise.number} --take puts that in.")


def _edit(arguments: argparse.Namespace) -> None:
    work = Work()
    if arguments.what is None:
        print("\n".join(work.taken_over()) or "nothing yet; ./lab exercise edit scheduler/scheduler.py takes that over")
        _warn_of_outdated(work)
    elif arguments.back:
        print(f"your module is in {work.give_back(arguments.what)}")
    elif NUMBER.fullmatch(arguments.what):
        print("\n".join(str(path.relative_to(paths.LEARN)) for path in work.take_over(find(arguments.what))))
    else:
        print(work.take_over_module(arguments.what).relative_to(paths.LEARN))


def _engine(_: argparse.Namespace) -> None:
    work = Work()
    print(work.engine())
    _warn_of_outdated(work)


def _warn_of_outdated(work: Work) -> None:
    for name in work.outdated_modules():
        print(f"lab: ours of {name} has changed since you took it over", file=sys.stderr)


def _test_out(arguments: argparse.Namespace) -> None:
    print(_session(arguments.number).test_out())


def _verify(arguments: argparse.Namespace) -> None:
    """In this process: gates run all subjects of an exercise in it."""
    from llm_course.exercises.gates import verify

    exercises = read_all()
    chosen = [find(number, exercises) for number in arguments.number] or exercises
    verification = verify(chosen)
    if arguments.write:
        for path in verification.write_pages():
            print(f"written: {path}")
    complaints = verification.complaints()
    for complaint in complaints:
        print(complaint)
    if complaints:
        raise CourseError(f"{len(complaints)} gates do not hold")
    wrong = sum(len(exercise.wrong) for exercise in chosen)
    print(f"{len(chosen)} exercises, {wrong} wrong solutions: every gate holds")


def _session(number: str | None) -> Session:
    return Session(_chosen(number), Work(), _log())


def _chosen(number: str | None) -> Exercise:
    exercises = read_all()
    if number == faults.EXERCISE:
        raise UsageError(f"exercise {number} is the fault lab; ./lab fault list")
    return current(_log(), exercises) if number is None else find(number, exercises)


def _log() -> Log:
    return Log(paths.LEARN / "progress.jsonl")
