"""`./lab fault`: start an engine with a defect, find where it comes from, mend it."""

from __future__ import annotations

import argparse
import os
import re
import tempfile
from pathlib import Path

from llm_course import paths
from llm_course.errors import CourseError
from llm_course.exercises import faults
from llm_course.exercises.faults import Fault, FaultLab
from llm_course.fault_loads.show import LOADS, LOG_NAME, show
from llm_course.progress.log import Log


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    fault = commands.add_parser("fault", help="find a defect in a running engine, and mend it")
    actions = fault.add_subparsers(metavar="ACTION", required=True)
    actions.add_parser("list", help="the faults, and how far you are").set_defaults(command=_list)
    start = actions.add_parser("start", help="get an engine with the fault, and its symptoms; the clock runs")
    start.add_argument("number", type=int)
    start.set_defaults(command=_start)
    show = actions.add_parser("show", help="run your copy under the load that makes the symptom show")
    show.add_argument("number", type=int)
    show.add_argument("--ours", action="store_true", help="the engine without the fault, for comparison")
    show.add_argument(
        "flags", nargs="*", metavar="-- FLAG", help="more of the engine's flags, such as --check-invariants"
    )
    show.set_defaults(command=_show)
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
    number, facts = fault.number, fault.facts
    print(f"Fault {number}: {facts.title}\n\n{facts.symptoms.strip()}\n\nTo see it:\n")
    print(f"    ./lab fault show {number}\n    {_up(fault)}      # or with a load of your own")
    print(f"\n{facts.reproduce.strip()}")
    print(f"\nThe engine is in {folder}; mend it there. Then:\n\n    ./lab fault check {number} FILE:LINE")


def _up(fault: Fault) -> str:
    return f"./lab up --fault {fault.number}" + (f" -- {fault.facts.flags}" if fault.facts.flags else "")


def _show(arguments: argparse.Namespace) -> None:
    fault = faults.find(arguments.number)
    folder = _lab().started(fault)
    flags = [*fault.facts.flags.split(), *arguments.flags]
    print(f"{fault.facts.reproduce.strip()}\n")
    shown = show(LOADS[fault.number], flags, folder, None if arguments.ours else folder)
    for name, value in shown.seen.items():
        print(f"{name}: {value:g}" if isinstance(value, float) else f"{name}: {value}")
    if shown.died:
        print(f"the engine has ended: {_cause(shown.log)}")
    print(f"\ntrace {os.path.relpath(shown.trace)}\nlog   {os.path.relpath(shown.trace.with_name(LOG_NAME))}")


def _check(arguments: argparse.Namespace) -> None:
    fault = faults.find(arguments.number)
    seconds = _lab().check(fault, arguments.where)
    print(f"Mended, {seconds / 60:.0f} minutes after the start.\n\n{fault.facts.diagnosis.strip()}")


def _engine(arguments: argparse.Namespace) -> None:
    print(_lab().started(faults.find(arguments.number)))


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


def _cause(log: str) -> str:
    """Return the line of an engine's log that ends its last traceback; the last line if there is none.

    Answers to waiting requests are logged after it.
    """
    lines = log.strip().splitlines() or ["no log"]
    return next((line for line in reversed(lines) if re.match(r"\w+(Error|Exception)\b", line)), lines[-1])
