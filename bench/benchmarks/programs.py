"""Programs that a benchmark starts: servers, which print their URL, and the bench itself."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import psutil

from llm_bench.results.result import Result, read_result

HERE = Path(__file__).resolve().parent
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
STOP_SECONDS = 20.0
READY_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Server:
    url: str
    process: psutil.Popen

    def cpu_seconds(self) -> float:
        times = self.process.cpu_times()
        return float(times.user + times.system)


@contextmanager
def serving(*arguments: str) -> Iterator[Server]:
    """Run a Python program whose first line of output names its URL; stop it at the end of the block."""
    with tempfile.TemporaryFile() as printed:
        process = psutil.Popen((sys.executable, *arguments), env=ENVIRONMENT, stdout=printed, stderr=subprocess.STDOUT)
        try:
            yield Server(_find_url(process, printed), process)
        finally:
            _stop(process)


@contextmanager
def command(argv: Sequence[str], url: str, environment: Mapping[str, str]) -> Iterator[Server]:
    """Run a program that serves `url`; enter the block when its `/health` answers 200."""
    process = psutil.Popen(
        argv, env={**os.environ, **environment}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    try:
        _wait(process, f"{url}/health")
        yield Server(url, process)
    finally:
        _stop(process)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def end_on_sigterm() -> None:
    """Make SIGTERM end the benchmark and the servers that it started."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


def token_server(*arguments: str) -> tuple[str, ...]:
    return (str(HERE / "token_server.py"), *arguments)


def bench(command: str, *arguments: str, out: Path) -> Result:
    """Run the bench once and return its result. Raises CalledProcessError if it fails."""
    _bench(command, *arguments, "--out", str(out))
    return read_result(out)


def bench_repeated(*arguments: str, count: int, out: Path) -> list[Result]:
    """Run one scenario several times and return the results. Raises CalledProcessError if a run fails."""
    _bench("run", *arguments, "--repeat", str(count), "--out", str(out))
    return [read_result(out / str(number + 1)) for number in range(count)]


def _bench(*arguments: str) -> None:
    argv = (sys.executable, "-m", "llm_bench", *arguments, "--quiet")
    subprocess.run(argv, env=ENVIRONMENT, check=True, stdout=subprocess.DEVNULL)


def _find_url(process: psutil.Popen, printed: IO[bytes]) -> str:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        text = os.pread(printed.fileno(), 65536, 0)
        if found := re.search(rb"http://[\w.:-]+(?=\s)", text):
            return found[0].decode().rstrip(".:")
        if process.poll() is not None:
            raise RuntimeError(f"a server ended before it listened: {text.decode(errors='replace').strip()[-500:]}")
        time.sleep(0.1)
    raise RuntimeError(f"a server named no URL within {READY_SECONDS:g} s")


def _wait(process: psutil.Popen, url: str) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"the server of {url} ended with status {process.returncode} before it was ready")
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=2.0) as answer:
            if answer.status == 200:
                return
        time.sleep(0.5)
    raise RuntimeError(f"{url} did not answer within {READY_SECONDS:g} s")


def _stop(process: psutil.Popen) -> None:
    """Stop the process and its children."""
    family = process.children(recursive=True) if process.is_running() else []
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except psutil.TimeoutExpired:
        process.kill()
        process.wait()
    for orphan in psutil.wait_procs(family, timeout=5.0)[1]:
        orphan.kill()
