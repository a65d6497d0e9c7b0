"""The command line.

llm-quantize quantize models/main --method gptq --out out/main-gptq
llm-quantize run models/main --methods gptq,awq,w8a8,fp8 --eval --bench --out out/main
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from llm_quantize.commands.evaluations import add_compare, add_evaluate, add_report
from llm_quantize.commands.quantize import add_quantize
from llm_quantize.commands.run import add_run
from llm_quantize.errors import QuantizeError
from llm_quantize.version import __version__

PROG = "llm-quantize"
DONE, FAILED, INTERRUPTED = 0, 1, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status.

    0: done; 1: failed (the reason is on stderr); 2: wrong usage; 130: interrupted.
    """
    parser = _parser()
    asked = parser.parse_args(argv)
    if asked.run is None:
        parser.print_help()
        return DONE
    try:
        status: int = asked.run(asked)
    except QuantizeError as error:
        print(f"{PROG}: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print(f"{PROG}: interrupted{asked.resumption}", file=sys.stderr)
        return INTERRUPTED
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROG,
        description="Quantise language models, and know what it cost.",
        epilog=f"A first try: {PROG} run models/main --methods gptq,w8a8 --eval --items 64 --out out/main",
    )
    parser.add_argument("--version", action="version", version=f"{PROG} {__version__}")
    parser.set_defaults(run=None, resumption="")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for add in (add_run, add_quantize, add_evaluate, add_compare, add_report):
        add(commands)
    return parser
