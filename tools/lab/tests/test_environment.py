"""An environment is made from its lock, and again when the lock changes; the stamp comes last."""

from __future__ import annotations

from pathlib import Path

import pytest

from llm_lab import paths
from llm_lab.environment import Environment
from llm_lab.errors import LabError

UV = """#!/bin/sh
echo "$@" >> "$(dirname "$0")/calls"
if [ "$1" = venv ]; then mkdir -p "{folder}"; fi
{end}
"""


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Environment:
    monkeypatch.setattr(paths, "UV", tmp_path / "uv")
    (tmp_path / "lock.txt").write_text("rich==1 --hash=sha256:00\n")
    write_uv(tmp_path)
    return Environment(tmp_path / "venv", tmp_path / "lock.txt", python=">=3.11.5")


def write_uv(folder: Path, end: str = "exit 0") -> None:
    (folder / "uv").write_text(UV.format(folder=folder / "venv", end=end))
    (folder / "uv").chmod(0o755)


def calls(folder: Path) -> list[str]:
    return (folder / "calls").read_text().splitlines()


def test_it_is_made_from_the_lock_with_every_hash(environment: Environment, tmp_path: Path) -> None:
    assert not environment.is_made()
    environment.make(helpers=[tmp_path / "helper"])
    assert environment.is_made()
    venv, sync, helpers = calls(tmp_path)
    assert "--python >=3.11.5" in venv
    assert "--require-hashes" in sync
    assert sync.endswith("lock.txt")
    assert helpers.endswith("helper")


def test_a_changed_lock_makes_it_again_in_the_same_folder(environment: Environment, tmp_path: Path) -> None:
    environment.make()
    (tmp_path / "lock.txt").write_text("rich==2 --hash=sha256:00\n")
    assert not environment.is_made()
    environment.make()
    assert environment.is_made()
    assert [call.split()[0] for call in calls(tmp_path)] == ["venv", "pip", "pip"]


def test_an_install_that_fails_leaves_no_stamp(environment: Environment, tmp_path: Path) -> None:
    write_uv(tmp_path, end='[ "$1" = venv ]')
    with pytest.raises(LabError, match="uv pip failed"):
        environment.make()
    assert not environment.is_made()
