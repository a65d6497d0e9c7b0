"""A replica's engine process: it dies with the replica, the replica learns of its end, nothing is left."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from llm_router.control.engine.child import Child, EngineFailed, command_of

SLEEPS = [sys.executable, "-c", "import signal; print('up', flush=True); signal.pause()"]


def until(condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true"
        time.sleep(0.01)


@pytest.fixture
def children() -> Iterator[list[Child]]:
    started: list[Child] = []
    yield started
    for child in started:
        child.kill()
        assert child.ended.wait(10)


@pytest.fixture
def start(children: list[Child]) -> Callable[..., Child]:
    def start(command: list[str]) -> Child:
        child = Child(command, "http://127.0.0.1:1")
        children.append(child)
        return child

    return start


async def never(url: str) -> bool:
    return False


def test_words_of_a_template_stay_words() -> None:
    command = command_of("{python} -m x --name {model} --port={port}", {"python": "/a b/py", "model": "m n", "port": 1})
    assert command == ["/a b/py", "-m", "x", "--name", "m n", "--port=1"]


def test_the_engine_leads_a_process_group_and_a_session_of_its_own(start: Callable[..., Child]) -> None:
    child = start(SLEEPS)
    assert os.getpgid(child.pid) == child.pid
    assert os.getsid(child.pid) == child.pid


def test_the_end_of_the_engine_is_reported_at_once(start: Callable[..., Child]) -> None:
    ended = threading.Event()
    child = start(SLEEPS)
    child.call_at_end(ended.set)
    os.kill(child.pid, signal.SIGKILL)
    assert ended.wait(10)
    assert child.exit_code == -signal.SIGKILL


async def test_stop_ends_the_engine(start: Callable[..., Child]) -> None:
    child = start(SLEEPS)
    await child.stop()
    assert child.ended.is_set()
    assert child.exit_code == -signal.SIGTERM
    assert not psutil.pid_exists(child.pid)


def test_an_end_before_the_callback_is_reported(start: Callable[..., Child]) -> None:
    child = start([sys.executable, "-c", ""])
    assert child.ended.wait(10)
    called = threading.Event()
    child.call_at_end(called.set)
    assert called.is_set()


async def test_an_engine_that_ignores_sigterm_is_killed(
    start: Callable[..., Child], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llm_router.control.engine.child.STOP_SECONDS", 0.2)
    deaf = "import signal; signal.signal(15, signal.SIG_IGN); print('up', flush=True); signal.pause()"
    child = start([sys.executable, "-c", deaf])
    until(lambda: child.last_lines == "up")
    await child.stop()
    until(child.ended.is_set)
    assert child.exit_code == -signal.SIGKILL


async def test_a_program_that_is_not_there(start: Callable[..., Child]) -> None:
    child = start(["/no/such/engine", "--port", "1"])
    with pytest.raises(EngineFailed, match=r"status 127 .*/no/such/engine --port 1(?s:.*)No such file or directory"):
        await child.ready(never, within=10)


async def test_an_engine_that_ends_at_once_shows_its_last_ten_lines(start: Callable[..., Child]) -> None:
    program = "for n in range(30): print('line', n, flush=True)\nraise SystemExit('no GPU')"
    child = start([sys.executable, "-c", program])
    with pytest.raises(EngineFailed, match="ended with status 1") as failed:
        await child.ready(never, within=10)
    assert str(failed.value).splitlines()[-10:] == [*(f"line {n}" for n in range(21, 30)), "no GPU"]


async def test_an_engine_that_is_never_ready_is_ended(start: Callable[..., Child]) -> None:
    child = start(SLEEPS)
    with pytest.raises(EngineFailed, match=r"not ready within 0.3 s"):
        await child.ready(never, within=0.3)
    until(child.ended.is_set)


REPLICA = """
import sys, signal
from llm_router.control.engine.child import Child
child = Child([sys.executable, "-c", sys.argv[1]], "http://x")
print(child.pid, flush=True)
signal.pause()
"""
WITH_A_GRANDCHILD = """
import os, signal, subprocess, sys
grandchild = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"], start_new_session=True)
open(FILE, "w").write(str(grandchild.pid))
signal.pause()
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_engine_dies_with_its_replica_and_leaves_no_orphan(tmp_path: Path, number: int) -> None:
    file = tmp_path / "pid"
    code = WITH_A_GRANDCHILD.replace("FILE", repr(str(file)))
    replica = subprocess.Popen([sys.executable, "-c", REPLICA, code], stdout=subprocess.PIPE, text=True)
    assert replica.stdout is not None
    engine = int(replica.stdout.readline())
    until(lambda: file.exists() and file.read_text() != "")
    grandchild = int(file.read_text())
    assert psutil.pid_exists(engine)
    assert psutil.pid_exists(grandchild)
    replica.send_signal(number)
    replica.wait()
    replica.stdout.close()
    until(lambda: not psutil.pid_exists(engine) and not psutil.pid_exists(grandchild))


def test_a_killed_engine_leaves_no_grandchild(start: Callable[..., Child], tmp_path: Path) -> None:
    file = tmp_path / "pid"
    child = start([sys.executable, "-c", WITH_A_GRANDCHILD.replace("FILE", repr(str(file)))])
    until(lambda: file.exists() and file.read_text() != "")
    os.kill(child.pid, signal.SIGKILL)
    until(lambda: not psutil.pid_exists(int(file.read_text())))


def test_a_killed_supervisor_takes_the_engine_with_it(start: Callable[..., Child]) -> None:
    ended = threading.Event()
    child = start(SLEEPS)
    child.call_at_end(ended.set)
    os.kill(psutil.Process(child.pid).ppid(), signal.SIGKILL)
    assert ended.wait(10)
    until(lambda: not psutil.pid_exists(child.pid))


async def test_ready_when_the_probe_says_so(start: Callable[..., Child]) -> None:
    answers = iter([False, False, True])

    async def probe(url: str) -> bool:
        return next(answers)

    await asyncio.wait_for(start(SLEEPS).ready(probe, within=10), 5)
