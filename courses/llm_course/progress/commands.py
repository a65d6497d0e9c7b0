"""`./lab progress`: what was done; export and import as one file."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from llm_course.errors import CourseError
from llm_course.paths import LEARN
from llm_course.progress.log import Log, line, parse

LOG = LEARN / "progress.jsonl"


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    progress = commands.add_parser("progress", help="what you did so far")
    progress.set_defaults(command=_show)
    actions = progress.add_subparsers(metavar="ACTION")
    export = actions.add_parser("export", help="write the log to a file, or to standard output")
    export.add_argument("file", type=Path, nargs="?")
    export.set_defaults(command=_export)
    import_ = actions.add_parser("import", help="add a file's events, from another machine or from the browser")
    import_.add_argument("file", type=Path)
    import_.set_defaults(command=_import)


def _show(_: argparse.Namespace) -> None:
    log = Log(LOG)
    passed = {event.key for event in log.of("exercise") if event.facts.get("event") == "passed"}
    print(f"{len(passed)} exercises passed, {len(log.events)} events")


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
