"""`docker build` gets the right target, bases and labels, and a failure is one line."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from llm_deploy.errors import DeployError
from llm_deploy.images import build
from llm_deploy.images.base import Base
from llm_deploy.images.catalog import IMAGES

COMMIT = "8c1f0e1d7a3b5c9d2e4f6a8b0c1d3e5f7a9b1c3d"
BASE = Base("python:3.11-slim-bookworm", "python:3.11-bookworm")


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with one commit in place of ours, and a `docker` that fails."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "docker").write_text(
        "#!/bin/sh\necho '#5 ERROR: process did not complete: exit code 1' >&2\nexit 1\n"
    )
    (tmp_path / "bin" / "docker").chmod(0o755)
    author = ("-c", "user.name=A", "-c", "user.email=a@b.c")
    (tmp_path / ".gitignore").write_text("bin\nout\n")
    for words in (("init", "--quiet"), ("add", "."), (*author, "commit", "--quiet", "--message", "One")):
        subprocess.run(("git", *words), cwd=tmp_path, check=True)
    monkeypatch.setattr(build, "ROOT", tmp_path)
    monkeypatch.setattr(build, "OUT", tmp_path / "out")
    return tmp_path


def test_labels_are_the_commits(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLM_LAB_VERSION", "1.2")
    asked = ("git", "log", "-1", "--format=%H %cI")
    revision, created = subprocess.run(asked, cwd=repository, check=True, capture_output=True, text=True).stdout.split()
    assert build.labels() == build.labels()
    assert build.labels() == {
        "org.opencontainers.image.created": created,
        "org.opencontainers.image.revision": revision,
        "org.opencontainers.image.version": "1.2",
        "org.opencontainers.image.licenses": "Apache-2.0",
    }


def test_a_changed_tree_is_not_passed_off_as_its_commit(repository: Path) -> None:
    (repository / "new.py").touch()
    assert build.labels()["org.opencontainers.image.revision"].endswith("-modified")


def test_without_a_repository_there_are_no_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "ROOT", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(
        DeployError, match=r"^the labels name the commit, and git log failed: fatal: not a git repository"
    ):
        build.labels()


def test_the_command_has_target_bases_labels_and_tag(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "labels", lambda: {"org.opencontainers.image.revision": COMMIT})
    monkeypatch.setenv("LLM_LAB_REGISTRY", "registry.example/llm")
    monkeypatch.setenv("LLM_LAB_VERSION", "1.2")
    words = " ".join(build._command(IMAGES["gateway"], BASE))
    for part in (
        "--target gateway",
        "--build-arg PYTHON_IMAGE=python:3.11-slim-bookworm --build-arg COMPILER_IMAGE=python:3.11-bookworm",
        f"--label org.opencontainers.image.revision={COMMIT}",
        "--label org.opencontainers.image.title=gateway",
        "--tag registry.example/llm/gateway:1.2",
    ):
        assert part in words


def test_a_failed_build_ends_with_its_last_line_and_names_its_log(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = f"{repository / 'bin'}{os.pathsep}{os.environ['PATH']}"
    monkeypatch.setenv("PATH", path)
    expected = "image gateway could not be built, see out/images/gateway.log: #5 ERROR: process did not complete"
    with pytest.raises(DeployError, match=f"^{re.escape(expected)}"):
        build.build(IMAGES["gateway"], BASE, {"PATH": path})


def test_the_size_of_an_image_that_is_not_there(repository: Path) -> None:
    with pytest.raises(DeployError, match=r"^there is no image llm-lab/gateway:dev: \./lab images builds it$"):
        build.megabytes("llm-lab/gateway:dev", {"PATH": str(repository / "bin")})
