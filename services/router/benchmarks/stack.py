"""The whole router as the benchmarks run it: Ray, Serve, an edge and engines on logical GPUs, in processes of its own.

with stack.running(stack.config(replicas=3), gpus=4) as router:
    router.wait_for(3)
    router.kill(router.engines()[0]["engine_pid"])
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import yaml

from llm_measure.processes import ENVIRONMENT, Server, free_port, python

MODEL = "main"
LOAD: dict[str, Any] = {"unary": 8, "streams": 16, "tokens": 50}
"""Clients, and tokens of each answer."""
READY_SECONDS = 180.0
STOP_SECONDS = 120.0
"""Engines drain before they end."""
SCRIPTED = "{python} -m llm_contract.testing --model main --port {port}"
Json = dict[str, Any]


def config(engine: str, **engines: Any) -> Json:
    """Return a configuration of one model; `engines` are further args of its application."""
    applications = {
        "engines": {"model": MODEL, "engine_command": engine, **engines},
        "edge": {"host": "127.0.0.1", "port": free_port(), "admin_port": free_port()},
    }
    return {
        "proxy_location": "Disabled",
        "applications": [
            {
                "name": name,
                "route_prefix": None,
                "import_path": f"llm_router.control.applications:{name}",
                "args": args,
            }
            for name, args in applications.items()
        ],
    }


@dataclass(slots=True)
class Router:
    """A running router. `seen` collects every process that it ever had, for the check that none is left."""

    server: Server
    config: Json
    seen: dict[int, psutil.Process] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.config['applications'][1]['args']['port']}"

    @property
    def admin(self) -> str:
        return f"http://127.0.0.1:{self.config['applications'][1]['args']['admin_port']}"

    def status(self) -> Json:
        """Return what GET /-/status says."""
        with urllib.request.urlopen(f"{self.url}/-/status", timeout=10.0) as response:
            found: Json = json.load(response)
        return found

    def engines(self) -> list[Json]:
        """Return the engines that the edge knows."""
        models = self.status()["models"]
        return [engine for model in models if model["name"] == MODEL for engine in model["engines"]]

    def live(self) -> list[Json]:
        """Return the engines that the edge sends requests to."""
        return [engine for engine in self.engines() if engine["up"]]

    def application(self, name: str = "engines") -> Json:
        """Return an application as the controller sees it, {} while that is not known."""
        control = self.status()["control"] or {"applications": []}
        return next((one for one in control["applications"] if one["name"] == name), {})

    def wait_for(self, engines: int, *, without: int = 0, timeout: float = READY_SECONDS) -> float:
        """Return the seconds until this number of engines is live, none of them with the engine pid `without`."""

        def complete() -> bool:
            live = [engine for engine in self.live() if engine["engine_pid"] != without]
            return len(live) >= engines

        return wait_until(complete, timeout=timeout, what=f"{engines} live engines")

    def deploy(self, changed: Json) -> None:
        """Apply a configuration by `llm-router deploy`; do not wait for its rollouts."""
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "router.yaml"
            file.write_text(yaml.safe_dump(changed))
            command = (sys.executable, "-m", "llm_router", "deploy", str(file), "--admin", self.admin, "--no-wait")
            subprocess.run(command, env={**os.environ, **ENVIRONMENT}, check=True, stdout=subprocess.DEVNULL)
        self.config = changed

    def family(self) -> list[psutil.Process]:
        """Return all processes of the router, engines among them."""
        leader = psutil.Process(self.server.process.pid)
        found = [leader, *leader.children(recursive=True)]
        for engine in self.engines():
            with suppress(psutil.Error):
                # An engine and its supervisor have a session of their own.
                process = psutil.Process(engine["engine_pid"])
                found += [process, *(one for one in process.parents()[:1] if one.pid > 1)]
        self.seen |= {process.pid: process for process in found}
        return found

    def named(self, part: str) -> list[psutil.Process]:
        """Return the processes whose command line holds `part`."""
        return [process for process in self.family() if part in _command_line(process)]

    def overhead_bytes(self) -> int:
        """Return the memory of all but the engines, each process without what it shares (USS)."""
        engines = {engine["engine_pid"] for engine in self.engines()}
        total = 0
        for process in self.family():
            with suppress(psutil.Error):
                total += process.memory_full_info().uss if process.pid not in engines else 0
        return total


@contextmanager
def running(configuration: Json, *, gpus: int, address: str | None = None) -> Iterator[Router]:
    """Run `llm-router serve`, on a Ray of its own with `gpus` logical GPUs or on the cluster at `address`."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "router.yaml"
        file.write_text(yaml.safe_dump(configuration))
        ray = ("--address", address) if address else ("--logical-gpus", str(gpus))
        with python("-m", "llm_router", "serve", "--config", str(file), *ray, stop_seconds=STOP_SECONDS) as server:
            yield Router(server, configuration)


def kill(pid: int, number: signal.Signals = signal.SIGKILL) -> float:
    """Send a signal; return the moment."""
    moment = time.monotonic()
    os.kill(pid, number)
    return moment


def wait_until(condition: Callable[[], bool], *, timeout: float, what: str, every: float = 0.1) -> float:
    """Return the seconds until the condition holds. A router that does not answer counts as False."""
    begin = time.monotonic()
    while (elapsed := time.monotonic() - begin) < timeout:
        with suppress(urllib.error.URLError, OSError, KeyError):
            if condition():
                return elapsed
        time.sleep(every)
    raise RuntimeError(f"no {what} within {timeout:g} s")


def _command_line(process: psutil.Process) -> str:
    with suppress(psutil.Error):
        return " ".join(process.cmdline())
    return ""
