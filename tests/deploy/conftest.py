"""Docker for these tests: without it they skip with the reason, or fail if LLM_LAB_REQUIRE_DOCKER is 1."""

from __future__ import annotations

import pytest
from deploy.support_docker import need_docker


@pytest.fixture(scope="session")
def docker_daemon() -> None:
    """A Docker daemon, with a Compose that is new enough."""
    need_docker()
