"""`llm-router`: the command line. Only `serve` imports Ray."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.util import find_spec

PROG = "llm-router"
USAGE = f"""usage: {PROG} serve MODEL [flags]       engines and an edge on this machine; `serve --help` lists the flags
       {PROG} serve --config FILE      the same from a file
       {PROG} edge --engine URL ...    an edge alone, before engines that run already
       {PROG} deploy FILE              apply a configuration to a running router
       {PROG} scale MODEL N            give a model N engines
       {PROG} status                   GPUs, engines, versions, load
       {PROG} rollout status           the newest rollout of each application"""


def main(argv: Sequence[str] | None = None) -> None:
    arguments = list(sys.argv[1:] if argv is None else argv)
    command = arguments[0] if arguments else "--help"
    if command in ("-h", "--help"):
        print(USAGE)
    elif command == "serve":
        if find_spec("ray") is None:
            print(f"{PROG}: serve needs Ray: pip install 'ray[serve]'; `{PROG} edge` does without", file=sys.stderr)
            raise SystemExit(2)
        from llm_router.control.command import main as serve

        serve(arguments[1:])
    elif command == "edge":
        from llm_router.edge.standalone import main as edge

        edge(arguments[1:])
    elif command in ("deploy", "scale", "status", "rollout"):
        from llm_router.client.commands import main as client

        raise SystemExit(client(arguments))
    else:
        print(f"{PROG}: unknown command {command!r}\n{USAGE}", file=sys.stderr)
        raise SystemExit(2)
