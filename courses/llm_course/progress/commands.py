"""`./lab progress`: what was done, against the outline; ticks; export and import as one file."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from llm_course import syllabus
from llm_course.cards import deck
from llm_course.errors import CourseError
from llm_course.paths import LEARN
from llm_course.progress import marks, table
from llm_course.progress.log import Log, line, parse
from llm_course.progress.summary import summary

LOG = LEARN / "progress.jsonl"


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    progress = commands.add_parser("progress", help="what you did so far")
    progress.add_argument("--json", action="store_true", help="as JSON")
    progress.set_defaults(command=_show)
    actions = progress.add_subparsers(metavar="ACTION")
    module = actions.add_parser("module", help="one module's exercises, deliverables and criteria")
    module.add_argument("number", type=int)
    module.set_defaults(command=_module)
    for name, done, text in (("tick", True, "is done"), ("untick", False, "is not done after all")):
        tick = actions.add_parser(name, help=f"say that a criterion or deliverable {text}")
        tick.add_argument("key", help='a criterion, "2/3", or a deliverable, "2/block-manager"')
        tick.set_defaults(command=_tick, done=done)
    export = actions.add_parser("export", help="write the log to a file, or to standard output")
    export.add_argument("file", type=Path, nargs="?")
    export.set_defaults(command=_export)
    import_ = actions.add_parser("import", help="add a file's events, from another machine or from the browser")
    import_.add_argument("file", type=Path)
    import_.set_defaults(command=_import)


def _show(arguments: argparse.Namespace) -> None:
    found = summary(Log(LOG), syllabus.load(), deck.cards(), datetime.now(UTC))
    if arguments.json:
        print(json.dumps(asdict(found), indent=2, ensure_ascii=False))
        return
    console = Console()
    console.print(table.overview(found))
    for text in table.lines(found):
        console.print(text, highlight=False)


def _module(arguments: argparse.Namespace) -> None:
    module = syllabus.load().module(arguments.number)
    found = summary(Log(LOG), syllabus.load(), deck.cards(), datetime.now(UTC))
    each = next(each for each in found.modules if each.module == module.number)
    print(f"{module.number} {module.title}: {each.hours_spent:.1f} hours of {module.hours[0]:g} to {module.hours[1]:g}")
    print("\n".join(table.details(module, each)))


def _tick(arguments: argparse.Namespace) -> None:
    if marks.mark(Log(LOG), arguments.key, arguments.done) is None:
        print(f"{arguments.key}: nothing to change")


def _export(arguments: argparse.Namespace) -> None:
    text = "".join(map(line, Log(LOG).events))
    if arguments.file is None:
        sys.stdout.write(text)
    else:
        arguments.file.write_text(text, encoding="utf-8")


def _import(arguments: argparse.Namespace) -> None:
    try:
        text = arguments.file.read_text(encoding="utf-8")
    except OSError as error:
        raise CourseError(f"{arguments.file}: {error.strerror}") from None
    print(f"{Log(LOG).merge(parse(text, str(arguments.file)))} new events")
