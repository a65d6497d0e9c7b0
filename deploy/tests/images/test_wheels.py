"""A wheel that is missing or wrong is one line, and an image without a lock needs none."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest

from llm_deploy.errors import DeployError
from llm_deploy.images import wheels
from llm_deploy.images.catalog import IMAGES
from llm_deploy.paths import ROOT

MISSING = (
    "WARNING: Retrying\n"
    "ERROR: Could not find a version that satisfies the requirement orjson==3.13.0 (from versions: none)\n"
    "ERROR: No matching distribution found for orjson==3.13.0\n"
    "[notice] A new release of pip is available\n"
)


class FakePip:
    def __init__(self, errors: str = "") -> None:
        self.errors = errors
        self.commands: list[tuple[str, ...]] = []

    def run(self, command: tuple[str, ...], **_: Any) -> subprocess.CompletedProcess[str]:
        self.commands.append(command)
        return subprocess.CompletedProcess(command, 1 if self.errors else 0, "", self.errors)

    def locks(self) -> list[str]:
        return [command[-1].removeprefix(f"{ROOT}/") for command in self.commands]


@pytest.fixture
def pip(monkeypatch: pytest.MonkeyPatch) -> FakePip:
    made = FakePip()
    monkeypatch.setattr(subprocess, "run", made.run)
    return made


def test_each_lock_is_downloaded_with_its_hashes_and_without_builds(pip: FakePip) -> None:
    wheels.download([IMAGES["gateway"], IMAGES["docs"]])
    assert pip.locks() == ["3rdparty/uv.txt", "deploy/images/locks/gateway.txt"]
    for command in pip.commands:
        assert {"--require-hashes", "--no-deps", ":all:"} <= set(command)


@pytest.mark.parametrize(
    ("errors", "reason"),
    [
        (MISSING, "No matching distribution found for orjson==3.13.0"),
        ("/usr/bin/python3: No module named pip\n", "/usr/bin/python3: No module named pip"),
    ],
)
def test_a_missing_wheel_is_one_line(pip: FakePip, errors: str, reason: str) -> None:
    pip.errors = errors
    with pytest.raises(DeployError, match=f"^wheels of 3rdparty/uv.txt are missing: {reason}$"):
        wheels.download([IMAGES["gateway"]])
