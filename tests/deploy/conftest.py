"""What these tests need from the machine. Each skips with the reason; with LLM_LAB_REQUIRE_DOCKER=1 it fails instead."""

from __future__ import annotations

import pytest
from deploy.support_docker import need_docker


@pytest.fixture(scope="session")
def docker_daemon() -> None:
    """A Docker daemon, with a Compose that is new enough."""
    need_docker()
