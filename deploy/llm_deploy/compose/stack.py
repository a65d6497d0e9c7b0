"""A Compose file with its profiles, and the commands that run it."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llm_deploy.errors import DeployError, UsageError
from llm_deploy.paths import DEPLOY, ROOT

FOLDER = DEPLOY / "compose"
CAPSTONES = ("engine", "gateway", "router", "monitor", "bench", "quantize", "docs")
JOBS = ("quantize",)
"""Capstones that end by themselves."""
PROFILES = {
    "cpu": "our engines, the router, the gateway and the monitor; they always run",
    "gpu": "vLLM as a further engine: the server at VLLM_URL, or one that is started",
    "observability": "Prometheus with the monitor's rules, and Alertmanager",
    "grafana": "Grafana with the monitor's boards; it takes observability's Prometheus",
    "jaeger": "Jaeger, and the OpenTelemetry Collector in front of it and of the monitor",
    "redis": "Redis, through which gateways share their order and limits",
    "load": "Locust's page with our load",
}
_PORT = re.compile(r"\$\{(\w+_PORT):-(\d+)\}:(\d+)")


@dataclass(frozen=True)
class Stack:
    """Services that run together."""

    file: Path
    profiles: tuple[str, ...] = ()
    """Compose's profiles."""
    variables: Mapping[str, str] = field(default_factory=dict)
    """Variables that the profiles set."""
    job: str = ""
    """Service whose end is the end of all; empty: they run until they are stopped."""

    def command(self, *words: str) -> list[str]:
        profiles = [word for name in self.profiles for word in ("--profile", name)]
        return ["docker", "compose", "--file", str(self.file), *profiles, *words]

    def environment(self) -> dict[str, str]:
        return {**os.environ, **self.variables}

    def run(self, *words: str) -> int:
        """Run `docker compose` with the terminal as its output; return its exit status."""
        return subprocess.run(self.command(*words), env=self.environment(), check=False).returncode

    def model(self) -> dict[str, Any]:
        """Return the file with all variables filled in, as `docker compose config` prints it."""
        command = self.command("config", "--format", "json")
        done = subprocess.run(command, env=self.environment(), check=False, capture_output=True, text=True)
        if done.returncode:
            raise DeployError(f"{self.file.name}: {(done.stderr.strip() or 'no reason given').splitlines()[-1]}")
        loaded: dict[str, Any] = json.loads(done.stdout)
        return loaded

    def port_variables(self) -> dict[tuple[int, int], str]:
        """Return the name of the variable that moves a port, by the published port and the container's."""
        return {
            (int(os.environ.get(name) or default), int(inside)): name
            for path in (self.file, FOLDER / "profiles.yaml")
            for name, default, inside in _PORT.findall(path.read_text())
        }


def stack_of(capstone: str | None, profiles: Sequence[str] = ()) -> Stack:
    """Return a capstone's stack, or the whole. Raise UsageError for a name that does not exist."""
    for name in profiles:
        if name not in PROFILES:
            raise UsageError(f"there is no profile {name}; there are {', '.join(PROFILES)}")
    if capstone is None:
        return Stack(ROOT / "compose.yaml", *_profiles(profiles))
    if capstone not in CAPSTONES:
        raise UsageError(f"there is no capstone {capstone} for Compose; there are {', '.join(CAPSTONES)}")
    if profiles:
        raise UsageError(f"profiles are of the whole stack; leave out {capstone}")
    return Stack(FOLDER / f"{capstone}.yaml", job=capstone if capstone in JOBS else "")


def _profiles(names: Sequence[str]) -> tuple[tuple[str, ...], dict[str, str]]:
    """Return Compose's profiles and the variables that they need."""
    variables = {}
    if "jaeger" in names:
        variables["OTLP_ENDPOINT"] = "http://otel-collector:4318/v1/traces"
    if "redis" in names:
        variables["LLM_GATEWAY_FLEET__REDIS_URL"] = "redis://redis:6379/0"
    if "gpu" in names and not os.environ.get("VLLM_URL"):
        variables["VLLM_URL"] = "http://vllm:8000"
    elif "gpu" in names:
        names = [name for name in names if name != "gpu"]  # it runs already
    return tuple(name for name in names if name != "cpu"), variables


def published(model: Mapping[str, Any]) -> Iterator[tuple[str, int, int]]:
    """Yield each port that a service publishes: service, port on this machine, port in the container."""
    for name, service in sorted(model["services"].items()):
        for port in service.get("ports", ()):
            yield name, int(port["published"]), int(port["target"])
