"""Real Docker for tests: the daemon, the images of ./lab images, and a reason where one of them is missing."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import NoReturn
from uuid import uuid4

import pytest

from llm_deploy.compose.preflight import check_docker
from llm_deploy.errors import DeployError
from llm_deploy.images.catalog import tag

REQUIRE = "LLM_LAB_REQUIRE_DOCKER"
"""Set to 1 where all of these tests have to run: what would be skipped fails then."""
HARDENED = ("--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")
"""How Compose and Kubernetes run our images."""


@cache
def missing_docker() -> str:
    """Return why Docker and Compose cannot be used; empty if they can. As root, start a daemon if none runs."""
    try:
        check_docker()
    except DeployError as error:
        return str(error)
    return ""


def need_docker() -> None:
    """Skip a test without Docker."""
    if missing := missing_docker():
        skip(f"no Docker: {missing}")


def need(*names: str) -> None:
    """Skip a test whose images are not built."""
    need_docker()
    if missing := [name for name in names if not built(name)]:
        skip(f"not built: {', '.join(missing)}; `./lab images {' '.join(missing)}` builds them")


def skip(reason: str) -> NoReturn:
    if os.environ.get(REQUIRE) == "1":
        pytest.fail(f"{REQUIRE}=1, and {reason}", pytrace=False)
    pytest.skip(reason)


def built(name: str) -> bool:
    asked = ("docker", "image", "inspect", tag(name))
    return subprocess.run(asked, capture_output=True, check=False).returncode == 0


def docker(*words: str) -> str:
    """Return what `docker` prints. Raise AssertionError with its reason if it fails."""
    done = subprocess.run(["docker", *words], check=False, capture_output=True, text=True)
    assert done.returncode == 0, f"docker {' '.join(words)}: {done.stderr[-2000:]}"
    return done.stdout


@contextmanager
def container(image: str, command: Sequence[str] = ()) -> Iterator[str]:
    """Start an image as deployments do, without a network, and yield the container's name. It is gone afterwards."""
    name = f"llm-test-{image}-{uuid4().hex[:8]}"
    docker("run", "--detach", "--name", name, "--network", "none", *HARDENED, tag(image), *command)
    try:
        yield name
    finally:
        docker("rm", "--force", "--volumes", name)
