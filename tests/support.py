"""Helpers of the end-to-end tests: where things are, how to ask, how to wait."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
