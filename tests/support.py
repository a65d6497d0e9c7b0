"""Helpers of the end-to-end tests: where things are, how to ask, how to wait."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from llm_lab import service
from llm_lab.ports import HOST
from llm_lab.service import Running

MODEL = Path("models/zoo/llama")
ENVIRONMENT = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}
READY_TIMEOUT = 60.0
CHAT_TEMPLATE = "{% for message in messages %}{{ message['content'] }}\n{% endfor %}"
"""For vLLM, which has no default: the main model's tokenizer has none."""


@dataclass(frozen=True)
class Stack:
    engine: Running
    gateway: Running

    def url(self, edge: str) -> str:
        """Return the URL of "engine" or of "gateway"."""
        return {"engine": self.engine, "gateway": self.gateway}[edge].url


@dataclass(frozen=True)
class MonitorClient:
    """A monitor's HTTP API, which is Prometheus's."""

    url: str
    had_values: set[str] = field(default_factory=set)

    def seen(self, expression: str) -> bool:
        """Return whether an expression has a value now, or had one when it was asked before."""
        if expression not in self.had_values and self.value(expression) is not None:
            self.had_values.add(expression)
        return expression in self.had_values

    def value(self, expression: str) -> float | None:
        """Return the first value of an expression now; None if it has none."""
        result = self._get(f"query?{urllib.parse.urlencode({'query': expression})}")["result"]
        return float(result[0]["value"][1]) if result else None

    def firing(self) -> dict[str, dict[str, str]]:
        """Return the labels of the alerts that fire, by name."""
        alerts = self._get("alerts")["alerts"]
        return {one["labels"]["alertname"]: one["labels"] for one in alerts if one["state"] == "firing"}

    def _get(self, path: str) -> Any:
        with urllib.request.urlopen(f"{self.url}/api/v1/{path}", timeout=60) as response:
            return json.load(response)["data"]


def run_monitor(start: Callable[..., Running], folder: Path, targets: Mapping[str, str]) -> MonitorClient:
    """Run a monitor over targets, name -> URL, and wait until it is ready."""
    port = any_port()
    addresses = [{"address": url, "labels": {"instance": name}} for name, url in targets.items()]
    config = folder / "monitor.yaml"
    collect = {"targets": addresses, "gpus": False}
    config.write_text(yaml.safe_dump({"port": port, "data": str(folder / "monitor"), "collect": collect}))
    running = start("monitor", port, "-m", "llm_monitor", "serve", "--config", str(config))
    service.wait_until_ready([running], READY_TIMEOUT)
    return MonitorClient(running.url)


def any_port() -> int:
    """Return a port that the kernel picks, so that parallel tests do not collide."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def post(url: str, body: bytes | dict[str, Any], path: str = "/v1/completions") -> tuple[int, dict[str, Any]]:
    """Send a POST request; return the answer's status and JSON body."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(url + path, data, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def loaded(url: str, body: dict[str, Any]) -> AbstractContextManager[None]:
    """Send requests one after the other while the `with` block runs."""
    return repeating(lambda: post(url, body))


@contextmanager
def repeating(send: Callable[[], object]) -> Iterator[None]:
    """Call `send` again and again, in a thread, while the `with` block runs."""
    ended = threading.Event()

    def repeat() -> None:
        while not ended.is_set():
            send()

    sender = threading.Thread(target=repeat)
    sender.start()
    try:
        yield
    finally:
        ended.set()
        sender.join()


def metric(url: str, name: str) -> float:
    """Return a metric's sum over all label sets."""
    with urllib.request.urlopen(f"{url}/metrics", timeout=10) as response:
        lines = response.read().decode().splitlines()
    values = [float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith((f"{name}{{", f"{name} "))]
    assert values, f"{name} is not exported"
    return sum(values)


def kill(running: Running) -> None:
    """Kill the process as a crash would: SIGKILL, without a chance to clean up."""
    os.kill(running.pid, signal.SIGKILL)
    os.waitpid(running.pid, 0)


def eventually(condition: Callable[[], bool], timeout: float = 30.0) -> bool:
    """Return whether `condition` becomes true within `timeout` seconds, as soon as it does."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
