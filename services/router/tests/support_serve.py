"""A router on Ray with four logical GPUs, seen from outside: through its edge and its processes."""

from __future__ import annotations

import json
import threading
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
START_SECONDS = 180.0
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

    def scale(self, model: str, replicas: int) -> Any:
        return self.ask("/scale", {"model": model, "replicas": replicas})

    def status(self) -> Status:
        return Status(**self.ask("/status"))

    def application(self, name: str) -> ApplicationStatus:
        return next(one for one in self.status().applications if one.name == name)

    def rollout(self, name: str) -> RolloutStatus:
        return next(one for one in self.status().rollouts if one.application == name)

    def serves(self, model: str) -> bool:
        """Return whether the edge knows the model. It learns of a deploy within a second; a ticket before is void."""
        return model in [one["name"] for one in self.ask("/fleet")["models"]]

    def listed(self, name: str) -> list[dict[str, Any]]:
        """Return the engines of an application, as the edge's fleet has them."""
        found: list[dict[str, Any]] = self.ask("/fleet")["engines"].get(name, [])
        return found

    def wait_for(self, name: str, count: int, version: str = "") -> list[dict[str, Any]]:
        """Return the application's engines once `count` are listed and live, all of one version if given.

        A controller that was restarted lists dead ones until their health checks fail.
        """

        def there() -> bool:
            right = [one for one in self.listed(name) if version in ("", one["version"]) and alive(one["engine_pid"])]
            return len(right) == len(self.listed(name)) == count

        until(there)
        return self.listed(name)

    def settle(self, name: str) -> ApplicationStatus:
        """Return the application's status once Serve has nothing left to do for it."""

        def done() -> ApplicationStatus | None:
            found = next((one for one in self.status().applications if one.name == name), None)
            busy = found is None or found.status != "RUNNING" or len(found.engines) != found.target
            return None if busy or self.rollout(name).state not in ("done", "rolled_back") else found

        settled: ApplicationStatus = until(done)
        return settled


class Stream:
    """A streamed completion straight from an engine, read in a thread."""

    def __init__(self, url: str, tokens: int) -> None:
        self.begun = threading.Event()
        self.done = threading.Event()
        self.text = ""
        body = {"model": "main", "prompt": "x", "stream": True, "max_tokens": tokens}
        self._request = urllib.request.Request(
            f"{url}/v1/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        with urllib.request.urlopen(self._request, timeout=START_SECONDS) as response:
            for line in response:
                self.text += line.decode()
                self.begun.set()
        self.done.set()


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
