"""A Ray that does not start in time is tried again, and its processes do not stay."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import ray
from ray._private.parameter import RayParams

from llm_router.control import local


class Head:
    """Stands in for Ray's head node: its start leaves a process behind and fails, `failures` times."""

    gcs_address = "127.0.0.1:6379"

    def kill_dashboard(self, check_alive: bool) -> None:
        assert not check_alive

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.started: list[subprocess.Popen[bytes]] = []

    def __call__(self, params: RayParams, **options: Any) -> Head:
        assert options["head"]
        assert (params.num_gpus, params.num_cpus) == (4, 8)
        if len(self.started) < self.failures:
            self.started.append(subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"]))
            raise Exception("The current node timed out during startup.")
        return self


@pytest.fixture(autouse=True)
def joined(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The addresses that are joined."""
    addresses: list[str] = []
    monkeypatch.setattr(ray, "init", lambda address, **_: addresses.append(address))
    monkeypatch.setattr(local, "_heads", [])
    return addresses


@pytest.mark.parametrize("failures", [0, 1, local.START_ATTEMPTS - 1])
def test_a_start_that_fails_is_repeated_without_its_processes(
    monkeypatch: pytest.MonkeyPatch, failures: int, joined: list[str]
) -> None:
    head = Head(failures)
    monkeypatch.setattr(local, "Node", head)
    local._start_ray(4, 8)
    assert len(head.started) == failures
    assert all(process.poll() is not None for process in head.started)
    assert joined == [head.gcs_address]


def test_a_ray_that_never_starts_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    head = Head(local.START_ATTEMPTS)
    monkeypatch.setattr(local, "Node", head)
    with pytest.raises(local.StartFailed, match="Ray does not start: The current node timed out"):
        local._start_ray(4, 8)
    assert all(process.poll() is not None for process in head.started)
