from __future__ import annotations

import sys
from pathlib import Path

import pytest

from llm_deploy.errors import DeployError
from llm_deploy.kubernetes.cluster import processes

WAITS = (sys.executable, "-c", "import signal; signal.pause()")
DEAF = (sys.executable, "-c", "import signal; signal.signal(15, signal.SIG_IGN); print(1, flush=True); signal.pause()")


def test_a_process_is_stopped_by_its_pid(tmp_path: Path) -> None:
    processes.start("one", WAITS, pids=tmp_path, logs=tmp_path)
    assert processes.running("one", pids=tmp_path)
    processes.stop("one", pids=tmp_path)
    assert processes.running("one", pids=tmp_path) is None
    processes.stop("one", pids=tmp_path)


def test_a_deaf_process_is_killed(tmp_path: Path) -> None:
    processes.start("deaf", DEAF, pids=tmp_path, logs=tmp_path)
    processes.wait("it is deaf", lambda: (tmp_path / "deaf.log").read_text() != "", seconds=30, hint="")
    processes.stop("deaf", pids=tmp_path, seconds=0.2)
    assert processes.running("deaf", pids=tmp_path) is None


def test_another_process_with_the_same_pid_is_not_ours(tmp_path: Path) -> None:
    processes.start("one", WAITS, pids=tmp_path, logs=tmp_path)
    noted = (tmp_path / "one").read_text()
    pid, began = noted.split()
    (tmp_path / "one").write_text(f"{pid} {int(began) - 1}")
    assert processes.running("one", pids=tmp_path) is None
    (tmp_path / "one").write_text(noted)
    processes.stop("one", pids=tmp_path)


def test_a_wait_ends_with_a_line_that_says_where_to_look(tmp_path: Path) -> None:
    with pytest.raises(DeployError, match="the node is ready not within 0 s; see the logs"):
        processes.wait("the node is ready", lambda: False, seconds=0, hint="see the logs")
