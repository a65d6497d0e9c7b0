"""The server processes of a benchmark. Each prints its URL first, and all end with the `with` block."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import psutil

from llm_contract.exposition import read_samples

ROOT = Path(__file__).resolve().parents[3]
STOP_SECONDS = 10.0
ORPHAN_SECONDS = 10.0
"""Time that a server's children have to end after it."""
READY_SECONDS = 180.0
MESSAGE_LENGTH = 2000
"""Most of a server's last words in an error."""
ENVIRONMENT = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


@dataclass(frozen=True)
class Server:
    url: str
    process: subprocess.Popen[bytes]
    left: list[str] = field(default_factory=list)
    """Names of its children that were alive ORPHAN_SECONDS after its end, and were killed then."""

    def resident_bytes(self) -> int:
        """Return the memory of the process and all its children."""
        leader = psutil.Process(self.process.pid)
        return sum(one.memory_info().rss for one in (leader, *leader.children(recursive=True)))

    def cpu_seconds(self) -> float:
        """Return the CPU time of the process and all its children that live."""
        leader = psutil.Process(self.process.pid)
        times = [one.cpu_times() for one in (leader, *leader.children(recursive=True))]
        return sum(each.user + each.system for each in times)

    def metric(self, name: str) -> float:
        """Return the sum of a metric over all label sets."""
        return scrape(self.url).get(name, 0.0)


def scrape(url: str) -> dict[str, float]:
    """Return each metric of a server's /metrics, summed over all label sets."""
    with urllib.request.urlopen(f"{url}/metrics", timeout=10.0) as response:
        lines = response.read().splitlines()
    sums: dict[str, float] = {}
    for sample in read_samples(lines):
        name = sample.name.decode()
        sums[name] = sums.get(name, 0.0) + sample.value
    return sums


@contextmanager
def python(*arguments: str, stop_seconds: float = STOP_SECONDS) -> Iterator[Server]:
    """Run a Python program of this project that prints its URL on a line of its own, or `NAME on URL`."""
    left: list[str] = []
    with tempfile.TemporaryFile() as printed:
        process = subprocess.Popen(
            (sys.executable, *arguments), env={**os.environ, **ENVIRONMENT}, stdout=printed, stderr=printed
        )
        try:
            yield Server(_printed_url(process, printed), process, left)
        finally:
            left += _stop(process, stop_seconds)


@contextmanager
def command(argv: Sequence[str], url: str, ready_path: str, env: dict[str, str]) -> Iterator[Server]:
    """Run any program that serves `url`. Enter the block when `ready_path` answers 200."""
    process = subprocess.Popen(
        argv, env={**os.environ, **env}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        _wait(process, url + ready_path)
        yield Server(url, process)
    finally:
        _stop(process, STOP_SECONDS)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def scripted_engine(*arguments: str) -> tuple[str, ...]:
    """Return the command line, for `python`, of a scripted engine on a free port."""
    return ("-m", "llm_contract.testing", *arguments)


def _printed_url(process: subprocess.Popen[bytes], printed: IO[bytes]) -> str:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        has_ended = process.poll() is not None
        text = os.pread(printed.fileno(), os.fstat(printed.fileno()).st_size, 0).decode(errors="replace")
        if found := re.search(r"(?:^|^.* on )(http://\S+)\n", text, re.MULTILINE):
            return found[1]
        if has_ended:
            raise RuntimeError(f"{process.args!r} ended before it listened: {text[-MESSAGE_LENGTH:].strip()}")
        time.sleep(0.02)
    raise RuntimeError(f"{process.args!r} printed no URL within {READY_SECONDS:g} s")


def _wait(process: subprocess.Popen[bytes], url: str) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"the server of {url} ended with status {process.returncode} before it was ready")
        try:
            with urllib.request.urlopen(url, timeout=2.0) as response:
                if response.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            pass
        time.sleep(0.1)
    raise RuntimeError(f"{url} did not answer within {READY_SECONDS:g} s")


def _stop(process: subprocess.Popen[bytes], seconds: float) -> list[str]:
    """End the process, then its children. Return the names of those that had to be killed."""
    try:
        family = psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        family = []
    process.terminate()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    left = []
    for orphan in psutil.wait_procs(family, timeout=ORPHAN_SECONDS)[1]:
        with suppress(psutil.NoSuchProcess):
            left.append(orphan.name())
            orphan.kill()
    return left
