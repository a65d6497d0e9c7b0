"""`llm-monitor`: the command line. Each command imports what it needs, and nothing else."""

from __future__ import annotations

import sys
from collections.abc import Sequence

PROG = "llm-monitor"
USAGE = f"""usage: {PROG} serve [flags]          the dashboard, the alerts, the history; `serve --help` lists the flags
       {PROG} check URL ...          one look at some targets; status 1 if something is wrong
       {PROG} record FILE URL ...    all that targets export, into one file
       {PROG} replay FILE [flags]    such a file in the dashboard
       {PROG} rules [FILE ...]       check rule files; --prometheus prints the rules for a Prometheus"""


def main(argv: Sequence[str] | None = None) -> None:
    arguments = list(sys.argv[1:] if argv is None else argv)
    command = arguments[0] if arguments else "--help"
    if command in ("-h", "--help"):
        print(USAGE)
    elif command == "serve":
        from llm_monitor.server import main as serve

        serve(arguments[1:])
    elif command == "check":
        from llm_monitor.commands.check import main as check

        raise SystemExit(check(arguments[1:]))
    elif command == "record":
        from llm_monitor.commands.record import main as record

        raise SystemExit(record(arguments[1:]))
    elif command == "replay":
        from llm_monitor.server import replay

        raise SystemExit(replay(arguments[1:]))
    elif command == "rules":
        from llm_monitor.commands.rules import main as rules

        raise SystemExit(rules(arguments[1:]))
    else:
        print(f"{PROG}: unknown command {command!r}\n{USAGE}", file=sys.stderr)
        raise SystemExit(2)
