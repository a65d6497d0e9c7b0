"""The engine server of a replica: start it by a command template, wait until it is ready, watch it, end it.

Replica and engine live and die together. The supervisor ends the engine when the replica ends; `call_at_end` lets the
replica end when the engine does.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from llm_router.control.engine import supervisor

LAST_LINES = 10
POLL_SECONDS = 0.1
PROBE_SECONDS = 5.0
STOP_SECONDS = 10.0
"""Time that an idle engine has to end after SIGTERM."""


class EngineFailed(Exception):
    """The engine did not start, or ended. The message has the last lines that it printed."""


class Child:
    """An engine server in a process of its own."""

    def __init__(self, command: list[str], url: str) -> None:
        self.command = command
        self.url = url
        self.pid = 0
        self.ended = threading.Event()
        self.exit_code: int | None = None
        self._lines: deque[str] = deque(maxlen=LAST_LINES)
        self._at_end: Callable[[], None] | None = None
        self._started = threading.Event()
        self._life, self._status = self._launch()
        self._reader = threading.Thread(target=self._read_output, daemon=True, name="engine-output")
        self._reader.start()
        threading.Thread(target=self._read_status, daemon=True, name="engine-status").start()
        self._started.wait()

    def _launch(self) -> tuple[subprocess.Popen[bytes], int]:
        status, theirs = os.pipe()
        program = [sys.executable, "-I", "-S", supervisor.__file__, str(theirs), *self.command]
        try:
            process = subprocess.Popen(
                program,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=(theirs,),
            )
        finally:
            os.close(theirs)
        process.wait()
        return process, status

    @property
    def last_lines(self) -> str:
        return "\n".join(self._lines)

    def failure(self, what: str) -> EngineFailed:
        """Return the exception for a failure, with the command and the engine's last lines."""
        said = f"; its last lines:\n{self.last_lines}" if self._lines else "; it printed nothing"
        return EngineFailed(f"{what}: {shlex.join(self.command)}{said}")

    async def ready(self, probe: Callable[[str], Any], *, within: float) -> None:
        """Return when `probe(url)` is true. Raise EngineFailed if the engine ends first, or the time does."""
        try:
            async with asyncio.timeout(within):
                while not await probe(self.url):
                    if self.ended.is_set():
                        await asyncio.to_thread(self._reader.join, STOP_SECONDS)
                        raise self.failure(f"the engine ended with {_ending(self.exit_code)} before it was ready")
                    await asyncio.sleep(POLL_SECONDS)
        except TimeoutError:
            self.kill()
            raise self.failure(f"the engine was not ready within {within:g} s") from None

    def call_at_end(self, callback: Callable[[], None] | None) -> None:
        """Call `callback` from another thread once the engine ends; None: do not."""
        self._at_end = callback
        if callback is not None and self.ended.is_set():
            callback()

    async def stop(self) -> None:
        """Send SIGTERM, and SIGKILL to whatever is left after STOP_SECONDS."""
        if not self.ended.is_set() and self.pid:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGTERM)
            await asyncio.to_thread(self.ended.wait, STOP_SECONDS)
        self.kill()
        await asyncio.to_thread(self.ended.wait, STOP_SECONDS)

    def kill(self) -> None:
        """Close the supervisor's pipe: it kills the engine and all its descendants."""
        if self._life.stdin is not None:
            self._life.stdin.close()

    def _read_output(self) -> None:
        assert self._life.stdout is not None
        for raw in self._life.stdout:
            line = raw.decode(errors="replace").rstrip()
            self._lines.append(line)
            print(line, flush=True)

    def _read_status(self) -> None:
        with open(self._status) as lines:
            for line in lines:
                kind, number = line.split()
                if kind == "pid":
                    self.pid = int(number)
                    self._started.set()
                else:
                    self.exit_code = int(number)
        self.ended.set()
        self._started.set()
        if self._at_end is not None:
            self._at_end()


def command_of(template: str, values: Mapping[str, Any]) -> list[str]:
    """Return the words of an engine command. A value is one word, or part of one, whatever it contains."""
    return [word.format(**values) for word in shlex.split(template)]


def free_port() -> int:
    """Return a port that is free now. Another process can still take it; the engine then ends and is started again."""
    with socket.socket() as listener:
        listener.bind(("", 0))
        port: int = listener.getsockname()[1]
        return port


def _ending(code: int | None) -> str:
    if code is None:
        return "an unknown status"
    return f"signal {-code}" if code < 0 else f"status {code}"
