"""`./lab demo`, interrupted: nothing that it started is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from support import ENVIRONMENT, eventually

SERVICES = 3


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demo_leaves_no_process_behind(number: signal.Signals, tmp_path: Path) -> None:
    command = (sys.executable, "-m", "llm_lab", "demo", "--quick")
    with (tmp_path / "output").open("wb") as output:
        demo = subprocess.Popen(
            command, env={**os.environ, **ENVIRONMENT}, stdout=output, stderr=output, start_new_session=True
        )
    process = psutil.Process(demo.pid)
    assert eventually(lambda: len(process.children()) >= SERVICES, timeout=30)
    family = process.children(recursive=True)
    os.killpg(demo.pid, number)  # as a terminal does
    assert demo.wait(timeout=30) == 130
    assert psutil.wait_procs(family, timeout=20)[1] == []
    assert "interrupted" in (tmp_path / "output").read_text()
