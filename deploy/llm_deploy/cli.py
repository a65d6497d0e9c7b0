"""The commands of deployment, each in the package that carries it out."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from llm_deploy.autoscale import cli as autoscale
from llm_deploy.capacity import cli as capacity
from llm_deploy.compose import cli as compose
from llm_deploy.drills import cli as drills
from llm_deploy.errors import DeployError
from llm_deploy.images import cli as images
from llm_deploy.kubernetes import cli as cluster
from llm_deploy.observability import cli as observability
from llm_deploy.ready import cli as ready

EXIT_INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status: 0 done, 1 failed (the reason is on stderr), 2 wrong usage, 130 interrupted."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    if arguments.command is None:
        parser.print_help()
        return 0
    try:
        return int(arguments.command(arguments) or 0)
    except DeployError as error:
        print(f"lab: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("lab: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="./lab", description=__doc__)
    parser.set_defaults(command=None)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for package in (autoscale, capacity, cluster, compose, drills, images, observability, ready):
        package.add_commands(commands)
    return parser
