"""A wheel that is missing or wrong is one line, and an image without a lock needs none."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from llm_deploy.errors import DeployError
from llm_deploy.images import wheels
from llm_deploy.images.catalog import IMAGES

MISSING = (
    "WARNING: Retrying\n"
    "ERROR: Could not find a version that satisfies the requirement orjson==3.13.0 (from versions: none)\n"
    "ERROR: No matching distribution found for orjson==3.13.0\n"
    "[notice] A new release of pip is available\n"
)


class FakePip:
    def __init__(self, errors: str = "") -> None:
        self.errors = errors
        self.command: tuple[str, ...] = ()
        self.pins = ""

    def run(self, command: tuple[str, ...], **_: Any) -> subprocess.CompletedProcess[str]:
        self.command, self.pins = command, Path(command[-1]).read_text()
        return subprocess.CompletedProcess(command, 1 if self.errors else 0, "", self.errors)


@pytest.fixture
def pip(monkeypatch: pytest.MonkeyPatch) -> FakePip:
    made = FakePip()
    monkeypatch.setattr(subprocess, "run", made.run)
    return made


def test_the_pins_of_all_locks_are_downloaded_once_with_their_hashes_and_without_builds(pip: FakePip) -> None:
    wheels.download([IMAGES["gateway"], IMAGES["router"], IMAGES["docs"]])
    assert {"--require-hashes", "--no-deps", ":all:"} <= set(pip.command)
    names = re.findall(r"^([\w.-]+)==", pip.pins, re.MULTILINE)
    assert {"uv", "aiohttp", "redis"} <= set(names)
    assert len(names) == len(set(names))
    assert len(re.findall("--hash=sha256:", pip.pins)) > len(names)


def test_locks_of_all_images_have_the_same_pins(pip: FakePip) -> None:
    wheels.download(list(IMAGES.values()))
    names = re.findall(r"^([\w.-]+)==", pip.pins, re.MULTILINE)
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("errors", "reason"),
    [
        (MISSING, "No matching distribution found for orjson==3.13.0"),
        ("/usr/bin/python3: No module named pip\n", "/usr/bin/python3: No module named pip"),
    ],
)
def test_a_missing_wheel_is_one_line(pip: FakePip, errors: str, reason: str) -> None:
    pip.errors = errors
    with pytest.raises(DeployError, match=f"^wheels of gateway are missing: {reason}$"):
        wheels.download([IMAGES["gateway"]])
