"""Programs that a benchmark starts: servers, which print their URL, and the bench itself."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from llm_bench.results import Result, read_result

HERE = Path(__file__).resolve().parent
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
STOP_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Server:
    url: str
    process: psutil.Popen

    def cpu_seconds(self) -> float:
        times = self.process.cpu_times()
        return float(times.user + times.system)


@contextmanager
def serving(*arguments: str) -> Iterator[Server]:
    """A Python program that prints its URL somewhere in its first lines; ends with the block."""
    process = psutil.Popen(
        (sys.executable, *arguments), env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    try:
        yield Server(_find_url(process, arguments), process)
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except psutil.TimeoutExpired:
            process.kill()
            process.wait()


def token_server(*arguments: str) -> tuple[str, ...]:
    return (str(HERE / "token_server.py"), *arguments)


def bench(command: str, *arguments: str, out: Path) -> Result:
    """One run of the bench; raises CalledProcessError if it could not be done."""
    argv = (sys.executable, "-m", "llm_bench", command, *arguments, "--out", str(out), "--quiet")
    subprocess.run(argv, env=ENVIRONMENT, check=True, stdout=subprocess.DEVNULL)
    return read_result(out)


def _find_url(process: psutil.Popen, arguments: tuple[str, ...]) -> str:
    assert process.stdout is not None
    for line in process.stdout:
        for word in line.decode().split():
            if word.startswith("http://"):
                return str(word.rstrip("/.,"))
    raise RuntimeError(f"{' '.join(arguments)} ended before it listened")
