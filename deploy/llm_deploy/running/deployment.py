"""A deployment as checks and drills see it: facts and addresses of its services, and the faults they can inject.

Deployment     what every deployment has
└── compose.Compose      a project of Docker Compose on this machine
└── cluster.Cluster      a namespace of a Kubernetes cluster
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from llm_deploy import paths
from llm_deploy.errors import UsageError
from llm_deploy.running.container import Container

SECRETS = paths.STATE / "secrets"


@dataclass(frozen=True)
class Keys:
    """Keys in plain text, as clients and operators hold them. An empty one is not sent."""

    client: str = ""
    admin: str = ""
    monitor: str = ""

    @classmethod
    def read(cls, folder: Path = SECRETS) -> Keys:
        """Read the files that `./lab compose secrets` makes; a missing file is an empty key."""
        return cls(*(_text(folder / f"{name}.key") for name in ("client", "admin", "monitor")))


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8").strip() if path.is_file() else ""


class Deployment(Protocol):
    """Everything is read from the running system when it is asked for; nothing is cached."""

    kind: str
    """compose or kubernetes."""
    name: str
    """The project or the namespace."""
    keys: Keys

    def containers(self) -> Sequence[Container]:
        """Return facts about all running containers. Raises DeployError if there is none."""

    def url(self, service: str, port: int) -> str:
        """Return the address at which this machine reaches a service. Raises DeployError if it reaches none."""

    def signal(self, service: str, name: str) -> None:
        """Send KILL, STOP, CONT or TERM to the service's first process."""

    def start(self, service: str) -> None:
        """Start a service that was stopped or killed; return before it is ready."""

    def stop(self, service: str) -> float:
        """Stop a service as an update would; return the seconds until it had ended."""

    def run_in(self, service: str, *words: str) -> str:
        """Run a program in the service's container and return its output. Raises DeployError if it fails."""

    def logs(self, service: str, lines: int = 50) -> str:
        """Return the last lines of a service's log."""


def one(containers: Sequence[Container], service: str) -> Container:
    """Return the first container of a service or role. Raises UsageError that lists the services there are."""
    for each in containers:
        if service in (each.service, each.role):
            return each
    services = sorted({each.service for each in containers})
    raise UsageError(f"{service} does not run; running are {', '.join(services)}")
