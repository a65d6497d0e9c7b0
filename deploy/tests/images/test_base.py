"""The base image: pulled, or made of Debian's packages, and one line if neither works."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import IO

import pytest

from llm_deploy import docker
from llm_deploy.errors import DeployError
from llm_deploy.images import base


class FakeDocker:
    """A `docker` with these images, and what it says to `pull` and `import`."""

    def __init__(self) -> None:
        self.images: set[str] = set()
        self.error = ""
        self.calls: list[tuple[str, ...]] = []

    def call(self, *arguments: str, environment: docker.Environment, stdin: IO[bytes] | None = None) -> docker.Done:
        self.calls.append(arguments)
        if stdin:
            stdin.read()
        return subprocess.CompletedProcess(arguments, 1 if self.error else 0, "", self.error)

    def has_image(self, image: str, environment: docker.Environment) -> bool:
        return image in self.images


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeDocker:
    made = FakeDocker()
    monkeypatch.setattr(docker, "call", made.call)
    monkeypatch.setattr(docker, "has_image", made.has_image)
    return made


@pytest.fixture
def mmdebstrap(monkeypatch: pytest.MonkeyPatch) -> None:
    """An administrator with mmdebstrap."""
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(os, "geteuid", lambda: 0)


def test_what_is_there_is_not_pulled(fake: FakeDocker) -> None:
    fake.images = {base.PULLED, base.PULLED_COMPILER}
    assert base.find(None, {}) == base.Base(base.PULLED, base.PULLED_COMPILER)
    assert not fake.calls


def test_what_is_missing_is_pulled(fake: FakeDocker) -> None:
    fake.images = {base.PULLED}
    base.find(None, {})
    assert fake.calls == [("pull", "--quiet", base.PULLED_COMPILER)]


def test_a_base_of_ones_own_serves_for_both_stages(fake: FakeDocker) -> None:
    assert base.find("mirror/python:3.11", {}) == base.Base("mirror/python:3.11", "mirror/python:3.11")
    assert fake.calls == [("pull", "--quiet", "mirror/python:3.11")]


def test_without_a_registry_it_names_the_stand_in(fake: FakeDocker) -> None:
    fake.error = "Error response from daemon: Get https://registry-1.docker.io/v2/: no such host"
    expected = (
        r"^the base image mirror/python:3.11 could not be pulled \(Get .*: no such host\): "
        "check the network, or make a stand-in from Debian's packages with --base debian$"
    )
    with pytest.raises(DeployError, match=expected):
        base.find("mirror/python:3.11", {})


def test_the_stand_in_without_mmdebstrap(fake: FakeDocker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(
        DeployError, match=r"^--base debian needs mmdebstrap: tools/docker-packages installs it \(as root"
    ):
        base.find("debian", {})


@pytest.mark.usefixtures("mmdebstrap")
def test_the_stand_in_without_root(fake: FakeDocker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(DeployError, match=r"^--base debian unpacks packages .* needs root: run it with sudo$"):
        base.find("debian", {})


@pytest.mark.usefixtures("mmdebstrap")
def test_the_stand_in_is_made_once(fake: FakeDocker, monkeypatch: pytest.MonkeyPatch) -> None:
    fake.images = {"llm-lab/compiler:bookworm"}
    monkeypatch.setattr(base, "_mmdebstrap", lambda kind: [sys.executable, "-c", f"print({kind!r})"])
    assert base.find("debian", {}) == base.Base("llm-lab/python:bookworm", "llm-lab/compiler:bookworm")
    assert fake.calls == [("import", "-", "llm-lab/python:bookworm")]


@pytest.mark.usefixtures("mmdebstrap")
def test_a_stand_in_that_fails_ends_with_its_last_line(fake: FakeDocker, monkeypatch: pytest.MonkeyPatch) -> None:
    failing = [sys.executable, "-c", "import sys; sys.exit('W: noise\\nE: no mirror answers')"]
    monkeypatch.setattr(base, "_mmdebstrap", lambda kind: failing)
    with pytest.raises(DeployError, match=r"^llm-lab/python:bookworm could not be made: E: no mirror answers$"):
        base.find("debian", {})
