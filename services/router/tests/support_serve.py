"""A router on Ray with four logical GPUs, seen from outside: through its edge and its processes."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

import psutil
from ray import serve

from llm_router.control import local
from llm_router.status import ApplicationStatus, RolloutStatus, Status

ENGINE = "{python} -m llm_contract.testing --port {port} --model {model}"
START_SECONDS = 60.0
"""Bound for anything that starts processes, on a busy machine."""


def until(condition: Callable[[], Any], seconds: float = START_SECONDS) -> Any:
    """Return the condition's value once it is true."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.05)
    return value


def engines(model: str, name: str = "", **args: Any) -> dict[str, Any]:
    """Return the entry of an application of scripted engines."""
    return {
        "name": name or f"engines-{model}",
        "route_prefix": None,
        "import_path": "llm_router.control.applications:engines",
        "args": {"model": model, "engine_command": ENGINE, "drain_timeout": 20, **args},
    }


def edge() -> dict[str, Any]:
    return {
        "name": "edge",
        "route_prefix": None,
        "import_path": "llm_router.control.applications:edge",
        "args": {"port": 0, "admin_port": None, "edge_drain_timeout": 5},
    }


class Router:
    """A deployed router. `entries` are the applications besides the edge."""

    def __init__(self) -> None:
        self.url = ""

    def start(self) -> None:
        local.deploy({"proxy_location": "Disabled", "applications": [edge()]})
        self.url = until(self._edge_url)

    def _edge_url(self) -> str:
        try:
            return str(serve.get_deployment_handle("Edge", "edge").url.remote().result(timeout_s=START_SECONDS))
        except (KeyError, serve.exceptions.RayServeException, TimeoutError):
            return ""

    def ask(self, path: str, body: Any = None, timeout: float = START_SECONDS) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=timeout) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            return json.load(error)

    def deploy(self, *entries: dict[str, Any]) -> Any:
        return self.ask("/deploy", {"proxy_location": "Disabled", "applications": [*entries, edge()]})

    def status(self) -> Status:
        return Status(**self.ask("/status"))

    def application(self, name: str) -> ApplicationStatus:
        return next(one for one in self.status().applications if one.name == name)

    def rollout(self, name: str) -> RolloutStatus:
        return next(one for one in self.status().rollouts if one.application == name)

    def listed(self, name: str) -> list[dict[str, Any]]:
        """Return the engines of an application, as the edge's fleet has them."""
        found: list[dict[str, Any]] = self.ask("/fleet")["engines"].get(name, [])
        return found

    def wait_for(self, name: str, count: int, version: str = "") -> list[dict[str, Any]]:
        """Return the application's engines once there are `count`, all of one version if given."""

        def there() -> list[dict[str, Any]]:
            found = self.listed(name)
            right = len(found) == count and all(not version or one["version"] == version for one in found)
            return found if right else []

        return list(until(there)) if count else until(lambda: not self.listed(name)) and []

    def settle(self, name: str) -> ApplicationStatus:
        """Return the application's status once Serve has nothing left to do for it."""

        def done() -> ApplicationStatus | None:
            found = next((one for one in self.status().applications if one.name == name), None)
            busy = found is None or found.status != "RUNNING" or len(found.engines) != found.target
            return None if busy or self.rollout(name).state not in ("done", "rolled_back") else found

        settled: ApplicationStatus = until(done)
        return settled


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
