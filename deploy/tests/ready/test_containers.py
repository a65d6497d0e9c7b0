"""Each check of containers is green for a good one and red for one fault."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.support_deployment import GOOD, FakeDeployment

from llm_deploy.ready.check import Subject, carry_out
from llm_deploy.ready.checks import CHECKS
from llm_deploy.running.container import Container

FAULTS = [
    ("non-root", {"user": ""}),
    ("non-root", {"user": "0:0"}),
    ("read-only-root", {"read_only": False}),
    ("privileges", {"dropped": ()}),
    ("privileges", {"no_new_privileges": False}),
    ("limits", {"memory_bytes": 0}),
    ("limits", {"cpus": 0.0}),
    ("probes", {"probes": ()}),
    ("probes", {"probes": ("liveness", "readiness")}),
    ("restarts", {"restarts_itself": False}),
    ("log-rotation", {"rotates_logs": False}),
    ("versions-pinned", {"image": "llm-lab/gateway:latest"}),
    ("versions-pinned", {"image": "registry:5000/gateway"}),
    ("secrets-in-files", {"environment": {"ENGINE_API_KEY": "sk-1"}}),
    ("encrypted", {"ports": {8080: "0.0.0.0:8080"}}),
    ("drain-time", {"stop_seconds": 60.0}),
]


def state(name: str, container: Container) -> str:
    check = next(each for each in CHECKS if each.name == name)
    subject = Subject(FakeDeployment([container], output="drain_timeout: 60.0\n"))
    return carry_out(check, subject, disturb=False).finding.state


@pytest.mark.parametrize("name", sorted({name for name, _ in FAULTS}))
def test_a_good_container_is_green(name: str) -> None:
    assert state(name, GOOD) == "green"


@pytest.mark.parametrize(("name", "fault"), FAULTS)
def test_each_fault_makes_its_check_red(name: str, fault: dict[str, object]) -> None:
    assert state(name, replace(GOOD, **fault)) == "red"  # type: ignore[arg-type]


def test_a_digest_pins_an_image() -> None:
    assert state("versions-pinned", replace(GOOD, image=f"llm-lab/gateway@sha256:{'0' * 64}")) == "green"


def test_packages_are_compared_with_the_lock() -> None:
    check = next(each for each in CHECKS if each.name == "packages-locked")
    locked = "aiohttp==0.0.1"
    found = carry_out(check, Subject(FakeDeployment([GOOD], output=locked)), disturb=False).finding
    assert found.state == "red"
