"""The course's commands; `./lab exercise …` and its siblings hand over to them.

Each package with commands has a `commands.py` whose `add` adds them.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from llm_course import __version__
from llm_course.cards import commands as cards_commands
from llm_course.errors import CourseError
from llm_course.exercises import commands as exercises_commands
from llm_course.exercises import fault_commands
from llm_course.progress import commands as progress_commands
from llm_course.quiz import commands as quiz_commands
from llm_course.site import commands as site_commands
from llm_course.traces import commands as traces_commands

PACKAGES = (
    site_commands,
    exercises_commands,
    fault_commands,
    quiz_commands,
    cards_commands,
    progress_commands,
    traces_commands,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Return the exit status: 0 done, 1 failed (the reason is on stderr), 2 wrong usage."""
    parser = argparse.ArgumentParser(prog="./lab", description="The course of the vLLM Learning Project.")
    parser.add_argument("--version", action="version", version=f"llm-course {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for package in PACKAGES:
        package.add(commands)
    arguments = parser.parse_args(argv)
    try:
        arguments.command(arguments)
        sys.stdout.flush()
    except CourseError as error:
        print(f"lab: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # `| head` has read enough; what is left must not be written when Python ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0
