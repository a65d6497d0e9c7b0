"""Start an engine, send it a fault's load, and say what was seen."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from llm_course.errors import CourseError
from llm_course.fault_loads import aborts, answers, waiting
from llm_course.fault_loads.client import Client, Seen, client
from llm_course.paths import MODELS, ROOT

Load: TypeAlias = Callable[[Client], Awaitable[Seen]]
LOADS: dict[int, Load] = {
    1: aborts.hang_ups,
    2: answers.shared_prompt,
    3: answers.long_prompt,
    4: waiting.long_among_short,
    5: answers.different_lengths,
    6: aborts.hang_ups_at_once,
    7: answers.same_prompt_again,
    8: answers.six_long,
    9: aborts.abort_of_a_preempted,
    10: answers.emoji,
    11: answers.several_answers,
    12: waiting.one_after_another,
}
LOG_NAME = "engine.log"
START_SECONDS = 180.0
STOP_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Shown:
    seen: Seen
    trace: Path
    log: str
    """All that the engine wrote."""
    died: bool
    """Whether the engine ended by itself."""


def show(load: Load, flags: Sequence[str], folder: Path, package: Path | None) -> Shown:
    """Start the engine of `package`, ours if None, with its trace and log in `folder`; send the load."""
    trace, log = folder / "trace.jsonl", folder / LOG_NAME
    with _engine(flags, trace, log, package) as (process, url):
        seen = asyncio.run(_send(load, url))
        died = process.poll() is not None
    return Shown(seen, trace, log.read_text(encoding="utf-8"), died)


async def _send(load: Load, url: str) -> Seen:
    async with client(url) as one:
        return await load(one)


@contextmanager
def _engine(
    flags: Sequence[str], trace: Path, log: Path, package: Path | None
) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    command = [sys.executable, "-m", "llm_engine", "serve", str(MODELS / "main"), "--port", "0"]
    path = os.pathsep.join(filter(None, [str(package) if package else "", *sys.path]))
    with log.open("wb") as written:
        process = subprocess.Popen(
            [*command, "--trace", str(trace), *flags],
            cwd=ROOT, env={**os.environ, "PYTHONPATH": path}, stdout=written, stderr=written,
        )  # fmt: skip
        try:
            yield process, _url(process, log)
        finally:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _url(process: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        if found := re.search(r"http://[\d.]+:\d+", log.read_text(encoding="utf-8")):
            return found[0]
        time.sleep(0.05)
    raise CourseError(f"the engine did not start; {log} has what it wrote")
