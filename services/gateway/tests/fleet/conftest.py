"""A Redis server for the tests of the fleet."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from llm_gateway.fleet.testing import RedisServer


@pytest.fixture
async def redis() -> AsyncIterator[RedisServer]:
    async with RedisServer() as server:
        yield server
