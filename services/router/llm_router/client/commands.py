"""The commands that talk to a running router: deploy, scale, status, rollout status."""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from llm_router.client.admin import DEFAULT_URL, AdminApi, AdminError
from llm_router.client.tables import loads_of, rollout_line, rollouts_text, status_text
from llm_router.status import RolloutStatus, Status

PROG = "llm-router"
POLL_SECONDS = 0.5


def main(argv: Sequence[str]) -> int:
    """Run a command and return its exit status: 0; 1 if the router refused or a rollout failed."""
    arguments = _parser().parse_args(argv)
    try:
        status: int = arguments.run(AdminApi(arguments.admin), arguments)
    except AdminError as error:
        print(f"{PROG}: {error}", file=sys.stderr)
        return 1
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=PROG)
    commands = parser.add_subparsers(required=True)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--admin", metavar="URL", default=DEFAULT_URL, help=f"the admin API; default: {DEFAULT_URL}")

    def add(to: Any, name: str, run: Callable[..., int], help: str) -> argparse.ArgumentParser:
        command: argparse.ArgumentParser = to.add_parser(name, parents=[common], help=help)
        command.set_defaults(run=run)
        return command

    deploy = add(commands, "deploy", _deploy, "apply a configuration; only what changed restarts")
    deploy.add_argument("file", type=Path)
    deploy.add_argument("--no-wait", action="store_true", help="do not wait for the rollouts to end")
    scale = add(commands, "scale", _scale, "give a model a fixed number of engines until the next deploy")
    scale.add_argument("model")
    scale.add_argument("replicas", type=int)
    add(commands, "status", _status, "show GPUs, engines, versions and load")
    rollout = commands.add_parser("rollout", help="show rollouts").add_subparsers(required=True)
    add(rollout, "status", _rollout_status, "show the newest rollout of each application")
    return parser


def _deploy(api: AdminApi, arguments: argparse.Namespace) -> int:
    try:
        config = yaml.safe_load(arguments.file.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise AdminError(f"{arguments.file}: {error}") from None
    if not isinstance(config, dict):
        raise AdminError(f"{arguments.file}: expected a mapping with `applications`")
    begun = Status(**api.deploy(config))
    changed = {one.application: one.started for one in begun.rollouts if one.ended is None}
    if arguments.no_wait or not changed:
        print(rollouts_text(begun) if changed else "nothing restarts")
        return 0
    return follow(api, changed)


def follow(api: AdminApi, begun: Mapping[str, float], *, sleep: Callable[[float], None] = time.sleep) -> int:
    """Print each change of these rollouts until all have ended. Return 1 if one failed.

    begun   when the rollout of each application started; a status from before knows an earlier one, or none
    """
    shown: dict[str, str] = {}
    while True:
        rollouts = [one for one in _control(api).rollouts if one.started >= begun.get(one.application, math.inf)]
        for rollout in rollouts:
            if shown.get(rollout.application) != (line := rollout_line(rollout)):
                shown[rollout.application] = line
                print(line, flush=True)
        if len(rollouts) == len(begun) and all(one.state in ("done", "rolled_back", "failed") for one in rollouts):
            return 0 if all(one.state == "done" for one in rollouts) else 1
        sleep(POLL_SECONDS)


def _scale(api: AdminApi, arguments: argparse.Namespace) -> int:
    status = Status(**api.scale(arguments.model, arguments.replicas))
    for application in status.applications:
        if application.model == arguments.model:
            print(f"{application.name}: {application.ready} ready, {arguments.replicas} ordered")
    return 0


def _status(api: AdminApi, arguments: argparse.Namespace) -> int:
    answer = api.status()
    print(status_text(_control_in(answer), loads_of(answer)))
    return 0


def _rollout_status(api: AdminApi, arguments: argparse.Namespace) -> int:
    status = _control(api)
    print(rollouts_text(status))
    return int(any(_has_failed(one) for one in status.rollouts))


def _has_failed(rollout: RolloutStatus) -> bool:
    return rollout.state in ("rolling_back", "rolled_back", "failed")


def _control(api: AdminApi) -> Status:
    return _control_in(api.status())


def _control_in(answer: dict[str, Any]) -> Status:
    if answer.get("control") is None:
        reason = answer.get("control_error") or "this edge runs without a control plane"
        raise AdminError(str(reason))
    return Status(**answer["control"])
