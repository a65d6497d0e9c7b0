"""Calls to Redis: sessions, and passwords that appear nowhere."""

from __future__ import annotations

import pytest
from pydantic import SecretStr
from redis.asyncio import Redis

from llm_gateway.classes import DEFAULT_CLASSES
from llm_gateway.fleet.link import connected
from llm_gateway.fleet.messages import Caller, SessionLost, parse
from llm_gateway.fleet.settings import FleetSettings
from llm_gateway.fleet.testing import RedisServer, Replica, until

INTERACTIVE, STANDARD, BATCH = DEFAULT_CLASSES


async def test_a_call_of_an_older_session_changes_nothing(redis: RedisServer) -> None:
    caller = Caller(FleetSettings(), "r")
    async with connected(redis.url, "{llm-gateway}:", "r", 0.5, on_wake=lambda: None) as link:
        first = caller.join(1, [], 0.0, {"e0": 1}, limits={"e0": 2})
        late = caller.news([], [], 0.0, {"e0": 5}, limits=None)
        second = caller.join(1, [], 0.0, {"e0": 2}, limits={"e0": 2})
        for payload in (first, second):
            assert parse(await link.call(payload)).replicas == 1
        for payload in (late, first):
            with pytest.raises(SessionLost):
                parse(await link.call(payload))
    async with Redis.from_url(redis.url, decode_responses=True) as client:
        assert await client.hgetall("{llm-gateway}:used") == {"e0": "2"}


async def test_a_password_is_in_no_log_and_no_printout(caplog: pytest.LogCaptureFixture) -> None:
    server = RedisServer()
    url = server.url.replace("redis://", "redis://user:hunter2@")
    async with Replica(url, {"e0": 1}):
        await until(lambda: "the fleet's Redis is unreachable" in caplog.text)
    assert "hunter2" not in caplog.text
    assert "hunter2" not in repr(FleetSettings(redis_url=SecretStr(url)))
