"""`./lab ready`: carry out the checks on a running deployment; exit status 1 if a required one is red."""

from __future__ import annotations

import argparse
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from llm_deploy import paths
from llm_deploy.errors import UsageError
from llm_deploy.ready import report
from llm_deploy.ready.check import Check, Subject, carry_out
from llm_deploy.ready.checks import CHECKS
from llm_deploy.running.cluster import NAMESPACE, Cluster
from llm_deploy.running.compose import PROJECT, Compose
from llm_deploy.running.deployment import SECRETS, Deployment, Keys


def add_commands(commands: Any) -> None:
    parser = commands.add_parser("ready", help="check whether a running deployment is ready for production")
    parser.add_argument("--compose", nargs="?", const=PROJECT, metavar="PROJECT", help=f"Compose project ({PROJECT})")
    parser.add_argument("--kubeconfig", type=Path, metavar="FILE", help="a cluster in place of Compose")
    parser.add_argument("--namespace", default=NAMESPACE, help="namespace of the cluster (default: %(default)s)")
    parser.add_argument("--url", action="append", default=[], metavar="SERVICE=URL", help="address of a service")
    parser.add_argument("--keys", type=Path, default=SECRETS, metavar="FOLDER", help="folder with client.key, …")
    parser.add_argument("--only", action="append", default=[], metavar="CHECK", help="carry out this check; repeatable")
    parser.add_argument("--disturb", action="store_true", help="also kill, hang, stop and overload services")
    parser.add_argument("--list", action="store_true", help="list the checks")
    parser.add_argument("--out", type=Path, default=paths.OUT / "ready", help="folder for ready.json and ready.html")
    parser.set_defaults(command=run)


def run(arguments: argparse.Namespace) -> int:
    console = Console()
    checks = _chosen(arguments.only)
    if arguments.list:
        for check in checks:
            marks = ", ".join([check.severity, *(["disturbs"] if check.disturbs else []), *check.kinds])
            console.print(f"{check.name:20}{check.asserts} ({marks})", highlight=False, soft_wrap=True)
        return 0
    deployment = _deployment(arguments)
    subject = Subject(deployment)
    subject.containers  # noqa: B018  nothing runs: one line, before any check
    # `kill` ends a disturbing check as Ctrl-C does: its fault is undone first.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    results = []
    for check in checks:
        with console.status(f"{check.name}: {check.asserts}"):
            results.append(carry_out(check, subject, disturb=arguments.disturb))
    report.table(results, console)
    page = report.write(results, f"{deployment.kind} {deployment.name}", arguments.out)
    console.print(f"{page} has the details", highlight=False, soft_wrap=True)
    return int(any(result.blocks for result in results))


def _chosen(names: Sequence[str]) -> list[Check]:
    known = {check.name: check for check in CHECKS}
    for name in names:
        if name not in known:
            raise UsageError(f"there is no check {name}; `./lab ready --list` shows all")
    return [check for check in CHECKS if not names or check.name in names]


def _deployment(arguments: argparse.Namespace) -> Deployment:
    keys = Keys.read(arguments.keys)
    if arguments.kubeconfig and arguments.compose:
        raise UsageError("give --compose or --kubeconfig, not both")
    if arguments.kubeconfig:
        return Cluster(arguments.kubeconfig, arguments.namespace, keys, dict(map(_pair, arguments.url)))
    if arguments.url:
        raise UsageError("--url belongs to --kubeconfig; Compose's published ports are found by themselves")
    return Compose(arguments.compose or PROJECT, keys)


def _pair(text: str) -> tuple[str, str]:
    service, equals, url = text.partition("=")
    if not equals or not url.startswith(("http://", "https://")):
        raise UsageError(f"--url {text}: give SERVICE=URL, as in gateway=http://127.0.0.1:30080")
    return service, url.rstrip("/")
