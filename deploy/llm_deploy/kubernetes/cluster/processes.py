"""Background processes that a later command ends by pid."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from llm_deploy.errors import DeployError

POLL_SECONDS = 0.1


def start(name: str, command: tuple[str, ...], *, pids: Path, logs: Path, env: Mapping[str, str] | None = None) -> None:
    """Start a process in a session of its own; its output goes to logs/NAME.log, its identity to pids/NAME."""
    with (logs / f"{name}.log").open("ab") as log:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env={**os.environ, **(env or {})},
        )
    (pids / name).write_text(f"{child.pid} {_started(child.pid)}")


def running(name: str, *, pids: Path) -> int | None:
    """Return the pid if the process that `start` noted still runs, and not another one with its number."""
    try:
        pid, began = (pids / name).read_text().split()
    except (OSError, ValueError):
        return None
    return int(pid) if _started(int(pid)) == began else None


def stop(name: str, *, pids: Path, seconds: float = 10.0) -> None:
    """End the process: SIGTERM, and SIGKILL after `seconds`."""
    pid = running(name, pids=pids)
    if pid is not None:
        os.kill(pid, signal.SIGTERM)
        if not becomes_true(lambda: running(name, pids=pids) is None, seconds):
            os.kill(pid, signal.SIGKILL)
            becomes_true(lambda: running(name, pids=pids) is None, seconds)
    (pids / name).unlink(missing_ok=True)


def becomes_true(condition: Callable[[], bool], seconds: float) -> bool:
    """Poll until the condition holds, for `seconds` at most. Return whether it does."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def wait(what: str, condition: Callable[[], bool], *, seconds: float, hint: str) -> None:
    """Wait for the condition. Raises DeployError with the hint if it does not hold in time."""
    if not becomes_true(condition, seconds):
        raise DeployError(f"{what} not within {seconds:g} s; {hint}")


def _started(pid: int) -> str:
    """Return the process's start time in clock ticks since boot, or "" if it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] == "Z" else fields[19]
