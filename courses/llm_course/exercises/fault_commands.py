"""`./lab fault`: start an engine with a defect, find where it comes from, mend it."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from llm_course import paths
from llm_course.errors import CourseError
from llm_course.exercises import faults
from llm_course.exercises.faults import FaultLab
from llm_course.progress.log import Log


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    fault = commands.add_parser("fault", help="find a defect in a running engine, and mend it")
    actions = fault.add_subparsers(metavar="ACTION", required=True)
    actions.add_parser("list", help="the faults, and how far you are").set_defaults(command=_list)
    start = actions.add_parser("start", help="get an engine with the fault, and its symptoms; the clock runs")
    start.add_argument("number", type=int)
    start.set_defaults(command=_start)
    check = actions.add_parser("check", help="say where it comes from; your mended engine is tested")
    check.add_argument("number", type=int)
    check.add_argument("where", help="a place in the engine, such as scheduler/scheduler.py:110")
    check.set_defaults(command=_check)
    engine = actions.add_parser("engine", help="print the folder of your copy of the engine, for PYTHONPATH")
    engine.add_argument("number", type=int)
    engine.set_defaults(command=_engine)
    actions.add_parser("verify", help="every patch applies, and its hidden test notices it").set_defaults(
        command=_verify
    )


def _list(_: argparse.Namespace) -> None:
    lab = _lab()
    for fault in faults.read_all():
        path = "required" if fault.facts.required else "stretch"
        print(f"{fault.number:>2}  {fault.facts.title}  ({path}, {lab.state(fault)})")


def _start(arguments: argparse.Namespace) -> None:
    fault = faults.find(arguments.number)
    folder = _lab().start(fault)
    print(f"Fault {fault.number}: {fault.facts.title}\n\n{fault.facts.symptoms.strip()}\n\nTo see it:\n")
    print("\n".join(f"    {line}" for line in fault.facts.reproduce.strip().splitlines()))
    print(f"\nThe engine is in {folder}; mend it there. Then:\n\n    ./lab fault check {fault.number} FILE:LINE")


def _check(arguments: argparse.Namespace) -> None:
    fault = faults.find(arguments.number)
    seconds = _lab().check(fault, arguments.where)
    print(f"Mended, {seconds / 60:.0f} minutes after the start.\n\n{fault.facts.diagnosis.strip()}")


def _engine(arguments: argparse.Namespace) -> None:
    fault = faults.find(arguments.number)
    folder = _lab().folder(fault)
    if not folder.exists():
        raise CourseError(f"fault {fault.number} is not started; ./lab fault start {fault.number}")
    print(folder)


def _verify(_: argparse.Namespace) -> None:
    found: list[str] = []
    for fault in faults.read_all():
        with tempfile.TemporaryDirectory() as folder:
            found += faults.complaints(fault, Path(folder))
    if found:
        raise CourseError("; ".join(found))
    print(f"{len(faults.read_all())} faults: every patch applies, and its hidden test notices it")


def _lab() -> FaultLab:
    return FaultLab(Log(paths.LEARN / "progress.jsonl"))
