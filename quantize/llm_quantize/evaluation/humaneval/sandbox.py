"""Run a program that a model wrote: in a process of its own, with limits, and with nothing to reach.

This keeps accidents and clumsy programs in, and the network out. It is no prison: evaluate a model that could attack
its evaluator in a virtual machine.
"""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

CANDIDATE = Path(__file__).with_name("candidate.py")
START_SECONDS = 10.0
"""Time for the interpreter to start, in addition to the program's own time."""

Reason = Literal["passed", "failed", "timeout"]


@dataclass(frozen=True, slots=True)
class Limits:
    seconds: int = 5
    """CPU time of the program; its wall time may be START_SECONDS longer."""
    memory_bytes: int = 1 << 30


def run_program(program: str, limits: Limits | None = None) -> Reason:
    """Return how the program ended: normally, by an error or a limit of the kernel, or by the clock."""
    limits = limits or Limits()
    word = secrets.token_hex(16)
    with tempfile.TemporaryDirectory(prefix="candidate-") as folder, tempfile.TemporaryFile() as answer:
        process = subprocess.Popen(
            (sys.executable, "-I", "-S", "-B", str(CANDIDATE), str(limits.seconds), str(limits.memory_bytes)),
            cwd=folder,
            env={},
            stdin=subprocess.PIPE,
            stdout=answer,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            process.communicate(f"{word}\n{program}".encode(errors="replace"), timeout=limits.seconds + START_SECONDS)
        except subprocess.TimeoutExpired:
            return "timeout"
        finally:
            _end(process)
        written = os.pread(answer.fileno(), len(word) + 1, 0)
    if process.returncode == -signal.SIGXCPU or process.returncode == -signal.SIGKILL:
        return "timeout"
    return "passed" if process.returncode == 0 and written == word.encode() else "failed"


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the program and all that it started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
