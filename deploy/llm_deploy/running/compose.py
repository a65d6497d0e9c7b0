"""A project of Docker Compose, through the docker command."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Sequence
from typing import Any

from llm_deploy.docker import choose
from llm_deploy.errors import DeployError, UsageError
from llm_deploy.running.container import Container, from_inspect
from llm_deploy.running.deployment import Keys, one

PROJECT = "llm"
SECONDS = 120.0
LABEL = "com.docker.compose.project"


class Compose:
    """The containers of one project. They are found by Compose's labels, whatever files started them."""

    kind = "compose"

    def __init__(self, name: str = PROJECT, keys: Keys | None = None) -> None:
        choose()
        self.name = name
        self.keys = keys or Keys.read()

    def inspect(self) -> list[dict[str, Any]]:
        """Return `docker inspect` of all containers that run. Raises DeployError if none does."""
        running = docker("ps", "-q", "--filter", f"label={LABEL}={self.name}").split()
        if not running:
            raise UsageError(f"no container of the Compose project {self.name} runs; `./lab compose up` starts it")
        return list(json.loads(docker("inspect", *running)))

    def containers(self) -> list[Container]:
        return sorted((from_inspect(each) for each in self.inspect()), key=lambda each: each.service)

    def url(self, service: str, port: int) -> str:
        container = one(self.containers(), service)
        if port not in container.ports:
            raise DeployError(f"{container.service} does not publish its port {port} on this machine")
        return f"http://{container.ports[port]}"

    def signal(self, service: str, name: str) -> None:
        docker("kill", "--signal", name, self._id(service))

    def start(self, service: str) -> None:
        docker("start", self._id(service))

    def stop(self, service: str) -> float:
        """The container's own stop_grace_period applies, as in `docker compose stop`."""
        container, began = self._id(service), time.monotonic()
        docker("stop", container)
        return time.monotonic() - began

    def run_in(self, service: str, *words: str) -> str:
        return docker("exec", self._id(service), *words)

    def logs(self, service: str, lines: int = 50) -> str:
        return docker("logs", "--tail", str(lines), self._id(service), merge=True)

    def _id(self, service: str) -> str:
        """Return the container's id, also of one that is stopped."""
        label = f"label=com.docker.compose.service={service}"
        found = docker("ps", "-aq", "--filter", f"label={LABEL}={self.name}", "--filter", label).split()
        if not found:
            raise UsageError(f"the Compose project {self.name} has no service {service}")
        return found[0]


def docker(*words: str, merge: bool = False) -> str:
    """Run docker and return its output, with its errors if `merge`. Raises DeployError with the reason in one line."""
    errors = subprocess.STDOUT if merge else subprocess.PIPE
    try:
        done = subprocess.run(
            ("docker", *words), check=False, stdout=subprocess.PIPE, stderr=errors, text=True, timeout=SECONDS
        )
    except FileNotFoundError:
        raise DeployError("docker is not installed; see deploy/README.md, Images") from None
    except subprocess.TimeoutExpired:
        raise DeployError(f"docker {words[0]} did not end within {SECONDS:.0f} s") from None
    if done.returncode:
        raise DeployError(_reason(words[0], (done.stderr or done.stdout or "").strip()))
    return done.stdout


def _reason(command: str, error: str) -> str:
    if "permission denied" in error and "sock" in error:
        return "no rights on Docker's socket; join the group docker, or run this as root"
    if "Cannot connect to the Docker daemon" in error or "error during connect" in error:
        return "no Docker daemon answers; start it, or set DOCKER_HOST"
    last: Sequence[str] = error.splitlines() or ["no reason given"]
    return f"docker {command}: {last[-1]}"
