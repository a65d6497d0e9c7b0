"""One server process: started in a session of its own, watched until it is ready, stopped with all its children."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from llm_lab import paths
from llm_lab.errors import LabError

READY_TIMEOUT = 180.0
STOP_TIMEOUT = 15.0
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals that end one of our commands."""


@dataclass(frozen=True)
class Service:
    """A process to start."""

    name: str
    argv: tuple[str, ...]
    url: str
    ready_path: str = "/ready"
    env: dict[str, str] = field(default_factory=dict)

    @property
    def log(self) -> Path:
        return paths.LOGS / f"{self.name}.log"


@dataclass(frozen=True)
class Running:
    """A started service. `created` tells its process from a later one that got the same pid."""

    name: str
    url: str
    ready_path: str
    log: Path
    scratch: Path
    """Its temporary folder, removed when it is stopped: vLLM leaves sockets and files behind."""
    pid: int
    created: float

    def to_json(self) -> dict[str, Any]:
        return {**self.__dict__, "log": str(self.log), "scratch": str(self.scratch)}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Running:
        return cls(**{**values, "log": Path(values["log"]), "scratch": Path(values["scratch"])})

    def process(self) -> psutil.Process | None:
        """Return the process while it lives; None afterwards."""
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.created) < 1.0
            return process if same and process.status() != psutil.STATUS_ZOMBIE else None
        except psutil.NoSuchProcess:
            return None

    def is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(self.url + self.ready_path, timeout=2.0) as response:
                return bool(response.status == 200)
        except (urllib.error.URLError, OSError):
            return False


def start(service: Service, started: list[Running] | None = None) -> Running:
    """Start the process in a session of its own, which our Ctrl-C does not reach; its output goes to its log.

    It is in `started` before a signal can end the caller, so stopping `started` misses no process.
    """
    service.log.parent.mkdir(parents=True, exist_ok=True)
    with _uninterrupted():
        running = _start(service)
        if started is not None:
            started.append(running)
    return running


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Handle a signal that arrives inside the block at its end."""
    arrived: list[int] = []
    handlers = {number: signal.signal(number, lambda number, _: arrived.append(number)) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    if arrived:
        signal.raise_signal(arrived[0])


def _start(service: Service) -> Running:
    scratch = Path(tempfile.mkdtemp(prefix="llm-lab-"))
    with service.log.open("wb") as log:
        process = subprocess.Popen(
            service.argv,
            cwd=paths.ROOT,
            env={**os.environ, **service.env, "TMPDIR": str(scratch)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    created = psutil.Process(process.pid).create_time()
    return Running(service.name, service.url, service.ready_path, service.log, scratch, process.pid, created)


def wait_until_ready(services: Iterable[Running], timeout: float = READY_TIMEOUT) -> None:
    """Wait until all answer their readiness probe. Raises LabError if one ends first or takes too long."""
    deadline = time.monotonic() + timeout
    for service in services:
        while not service.is_ready():
            if service.process() is None:
                raise LabError(f"{service.name} ended while starting; the end of {service.log}:\n{tail(service.log)}")
            if time.monotonic() > deadline:
                raise LabError(f"{service.name} was not ready after {timeout:.0f} s; see {service.log}")
            time.sleep(0.1)


def stop(services: Iterable[Running], timeout: float = STOP_TIMEOUT) -> None:
    """Ask each to end, in order, and wait; kill those that outlive `timeout` or their parent."""
    services = list(services)
    leaders = [process for each in services if (process := each.process())]
    families = [member for leader in leaders for member in (leader, *leader.children(recursive=True))]
    for leader in leaders:
        _signal(leader, signal.SIGTERM)
    psutil.wait_procs(leaders, timeout=timeout)
    _, left = psutil.wait_procs(families, timeout=0)
    for process in left:
        _signal(process, signal.SIGKILL)
    psutil.wait_procs(left, timeout=5.0)
    for each in services:
        shutil.rmtree(each.scratch, ignore_errors=True)


def _signal(process: psutil.Process, number: int) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return


def tail(log: Path, lines: int = 15) -> str:
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
