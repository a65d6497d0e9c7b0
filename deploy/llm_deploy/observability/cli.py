"""`./lab observability`: write the generated configuration."""

from __future__ import annotations

import argparse
from typing import Any

from llm_deploy.errors import DeployError


def add_commands(commands: Any) -> None:
    parser = commands.add_parser(
        "observability", help="rules and boards for Prometheus and Grafana, from the monitor's"
    )
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a file is outdated")
    parser.set_defaults(command=_observability)


def _observability(arguments: argparse.Namespace) -> int:
    from llm_deploy.observability import generate  # the boards' SDK takes a second to import

    changed = generate.outdated() if arguments.check else generate.write()
    if arguments.check and changed:
        raise DeployError(f"outdated: {', '.join(changed)}; ./lab observability writes them")
    print("\n".join(changed) or "all generated files are up to date")
    return 0
