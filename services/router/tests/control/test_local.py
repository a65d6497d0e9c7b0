"""A Ray that does not start in time is tried again, and its processes do not stay."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import ray

from llm_router.control import local


class Init:
    """Stands in for `ray.init`: leaves a process behind and fails, `failures` times."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.started: list[subprocess.Popen[bytes]] = []

    def __call__(self, **options: Any) -> None:
        assert options["address"] == "local"
        if len(self.started) < self.failures:
            self.started.append(subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"]))
            raise Exception("The current node timed out during startup.")


@pytest.mark.parametrize("failures", [0, 1, local.START_ATTEMPTS - 1])
def test_a_start_that_fails_is_repeated_without_its_processes(monkeypatch: pytest.MonkeyPatch, failures: int) -> None:
    init = Init(failures)
    monkeypatch.setattr(ray, "init", init)
    local._start_ray(4, 8)
    assert len(init.started) == failures
    assert all(process.poll() is not None for process in init.started)


def test_a_ray_that_never_starts_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    init = Init(local.START_ATTEMPTS)
    monkeypatch.setattr(ray, "init", init)
    with pytest.raises(local.StartFailed, match="Ray does not start: The current node timed out"):
        local._start_ray(4, 8)
    assert all(process.poll() is not None for process in init.started)
