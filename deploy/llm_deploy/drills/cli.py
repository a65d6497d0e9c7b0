"""`./lab drill`: list the drills, run one, or run all that the deployment can have."""

from __future__ import annotations

import argparse
import json
import signal
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from llm_deploy.drills.expectation import read
from llm_deploy.drills.faults import FAULTS, needs_rights
from llm_deploy.drills.game_day import Outcome, hold
from llm_deploy.errors import UsageError
from llm_deploy.running.compose import PROJECT, Compose
from llm_deploy.running.deployment import SECRETS, Keys

ALL = "all"


def add_commands(commands: Any) -> None:
    parser = commands.add_parser("drill", help="inject a fault into the running stack, and compare with its runbook")
    parser.add_argument("drills", nargs="*", metavar="NAME", help=f"drills, or `{ALL}`; without one they are listed")
    parser.add_argument("--compose", default=PROJECT, metavar="PROJECT", help="Compose project (default: %(default)s)")
    parser.add_argument("--keys", type=Path, default=SECRETS, metavar="FOLDER", help="folder with client.key, …")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the results there")
    parser.set_defaults(command=run)


def run(arguments: argparse.Namespace) -> int:
    """Return 0 if each drill showed what its runbook says, else 1."""
    console, written = Console(), read()
    if not arguments.drills:
        for name, fault in FAULTS.items():
            console.print(f"{name:14}{fault.does} ({written[name].page.name})", highlight=False)
        return 0
    names = list(FAULTS) if arguments.drills == [ALL] else arguments.drills
    for name in names:
        if name not in FAULTS:
            raise UsageError(f"there is no drill {name}; drills are {', '.join(FAULTS)}")
        needs_rights(FAULTS[name])
    deployment = Compose(arguments.compose, Keys.read(arguments.keys))
    deployment.containers()
    # `kill` ends the drill as Ctrl-C does: the fault is undone first.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    outcomes = []
    for name in names:
        outcomes.append(hold(written[name], FAULTS[name], deployment, console.print))
        console.print(_table(outcomes[-1]))
    if arguments.json:
        _write(arguments.json, outcomes)
    return 0 if all(outcome.agrees for outcome in outcomes) else 1


def _table(outcome: Outcome) -> Table:
    verdict = "agrees with" if outcome.agrees else "DISAGREES WITH"
    table = Table(title=f"{outcome.drill} {verdict} {outcome.page}", title_justify="left")
    for head in ("", "the runbook says", "seen", "agrees"):
        table.add_column(head, overflow="fold")
    for row in outcome.rows:
        table.add_row(row.what, row.expected, row.seen, "yes" if row.agrees else "NO")
    return table


def _write(path: Path, outcomes: list[Outcome]) -> None:
    found = {"date": datetime.now(UTC).date().isoformat(), "drills": [asdict(each) for each in outcomes]}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
