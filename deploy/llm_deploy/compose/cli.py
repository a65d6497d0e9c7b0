"""`./lab compose [CAPSTONE] up|down|status|logs`, and `./lab compose secrets`."""

from __future__ import annotations

import argparse
import sys

from llm_deploy.compose import preflight, secrets
from llm_deploy.compose.stack import CAPSTONES, PROFILES, Stack, published, stack_of
from llm_deploy.errors import UsageError

ACTIONS = ("up", "down", "status", "logs", "secrets")


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "compose",
        help="run a capstone, or the whole, in containers: up, down, status, logs, secrets",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=__doc__,
        epilog="profiles:\n" + "\n".join(f"  {name:14} {text}" for name, text in PROFILES.items()),
    )
    parser.add_argument("words", nargs="+", metavar="[CAPSTONE] ACTION", help=f"{', '.join(CAPSTONES)}; none: all")
    parser.add_argument("--profile", action="append", default=[], metavar="NAME", help="what runs as well; repeatable")
    parser.add_argument("--volumes", action="store_true", help="down: delete the data as well")
    parser.add_argument("--webhook", metavar="URL", help="secrets: where the monitor posts alerts")
    parser.set_defaults(command=run)


def run(arguments: argparse.Namespace) -> int:
    capstone, action = _words(arguments.words)
    if action == "secrets":
        return _make_secrets(arguments.webhook)
    if action == "up":
        return _up(stack_of(capstone, arguments.profile))
    # A service runs whatever profile it came with, so all of them are stopped and shown.
    stack = stack_of(capstone, () if capstone else list(PROFILES))
    preflight.check_docker()
    if action == "down":
        return stack.run("down", "--remove-orphans", *(["--volumes"] if arguments.volumes else []))
    return stack.run("ps", "--all") if action == "status" else stack.run("logs", "--tail", "100")


def _words(words: list[str]) -> tuple[str | None, str]:
    *capstone, action = words
    if action not in ACTIONS:
        raise UsageError(f"there is no action {action}; there are {', '.join(ACTIONS)}")
    if len(capstone) > 1:
        raise UsageError(f"one capstone at a time, not {' and '.join(capstone)}; without one, all of them run")
    return capstone[0] if capstone else None, action


def _up(stack: Stack) -> int:
    if found := preflight.problems(stack):
        print("\n".join(f"lab: {problem}" for problem in found), file=sys.stderr)
        return 1
    if stack.job:
        return stack.run("up", "--exit-code-from", stack.job)
    if status := stack.run("up", "--detach", "--wait"):
        print("lab: not all services are healthy; `./lab compose logs` shows why", file=sys.stderr)
        return status
    for service, port, _ in published(stack.model()):
        print(f"{service:14} http://127.0.0.1:{port}")
    return 0


def _make_secrets(webhook: str | None) -> int:
    where = secrets.folder()
    made = secrets.make(where, webhook)
    print(f"{where}: {', '.join(made)}" if made else f"{where}: all there")
    return 0
