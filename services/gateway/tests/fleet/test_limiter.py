"""Tenants' limits over two gateways, in a real Redis. A test cannot move its clock, so bounds use its time."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr
from redis.asyncio import Redis

from llm_gateway.fleet.limiter import RedisLimiter
from llm_gateway.fleet.link import script
from llm_gateway.fleet.settings import FleetSettings
from llm_gateway.fleet.testing import RedisServer
from llm_gateway.tenancy.rate_limit import Grant, Limits, LocalLimiter


@dataclass
class Member:
    online: bool = True

    def share(self, limit: int) -> int:
        return max(1, limit // 2)


@pytest.fixture
async def redis() -> AsyncIterator[RedisServer]:
    async with RedisServer() as server:
        yield server


def limiter(redis: RedisServer, member: Member | None = None) -> RedisLimiter:
    return RedisLimiter(FleetSettings(redis_url=SecretStr(redis.url)), member or Member())


async def test_two_gateways_share_one_budget_of_requests(redis: RedisServer) -> None:
    one, other = limiter(redis), limiter(redis)
    limits, start = Limits(60, None), time.monotonic()
    grants = await asyncio.gather(*(each.acquire("t", limits, 0) for _ in range(100) for each in (one, other)))
    let_in = sum(grant.open for grant in grants)
    assert 60 <= let_in <= 60 + (time.monotonic() - start)
    refused = next(grant for grant in grants if not grant.open)
    assert refused.refused_by == "requests"
    assert 0 < refused.retry_after <= 1.0
    await one.close()
    await other.close()


@pytest.mark.parametrize(
    "reply",
    [
        *(b"", b"null", b"{}", b"[]", b'{"answers": 1}', b'{"answers": null}', b'{"answers": []}', b'{"answers": [1]}'),
        *(b'{"answers": [[0, 0, 1]]}', b'{"answers": [[0, 0, "x", 1]]}', b'{"answers": [[0, 0, null, 1]]}', b"\xff"),
    ],
)
async def test_an_odd_reply_of_redis_leaves_the_local_limit(redis: RedisServer, reply: bytes) -> None:
    one = limiter(redis)

    async def odd(**_: object) -> bytes:
        return reply

    one._script = odd  # type: ignore[assignment]
    async with asyncio.timeout(30):
        grants = [await one.acquire("t", Limits(None, 10), 5) for _ in range(2)]
    assert [grant.open for grant in grants] == [True, False]
    await one.close()


async def test_tokens_are_charged_by_one_and_settled_exactly_once(redis: RedisServer) -> None:
    one, other = limiter(redis), limiter(redis)
    limits = Limits(None, 6)
    grant = await one.acquire("t", limits, 5)
    assert grant.open
    assert 1.0 <= grant.tokens_left < 1.1
    assert (await other.acquire("t", limits, 4)).refused_by == "tokens"
    await one.settle(grant, 2)
    await one.settle(grant, 2)
    left = (await one.acquire("t", limits, 0)).tokens_left
    assert 4.0 <= left < 4.1
    assert (await other.acquire("t", limits, 7)).retry_after == math.inf
    await one.close()
    await other.close()


async def test_a_debt_is_paid_before_the_next_request(redis: RedisServer) -> None:
    one = limiter(redis)
    grant = await one.acquire("t", Limits(None, 60), 10)
    await one.settle(grant, 90)
    refused = await one.acquire("t", Limits(None, 60), 1)
    assert 30.0 < refused.retry_after <= 31.0
    await one.close()


async def test_without_limits_redis_is_not_asked() -> None:
    server = RedisServer()
    assert (await limiter(server).acquire("t", Limits(None, None), 5)).open


async def test_a_client_that_goes_away_while_we_ask_gets_its_tokens_back(redis: RedisServer) -> None:
    one = limiter(redis)
    asking = asyncio.ensure_future(one.acquire("t", Limits(None, 6), 5))
    await asyncio.sleep(0)
    asking.cancel()
    await asyncio.wait((asking,))
    await one.close()
    after = limiter(redis)
    assert (await after.acquire("t", Limits(None, 6), 5)).open
    await after.close()


async def test_without_redis_each_has_its_share_and_with_it_they_share_again(redis: RedisServer) -> None:
    member = Member()
    one = limiter(redis, member)
    limits = Limits(4, None)
    assert (await one.acquire("t", limits, 0)).open
    await redis.kill()
    grants = [await one.acquire("t", limits, 0) for _ in range(3)]
    assert [grant.open for grant in grants] == [True, True, False]
    assert grants[2].limits == Limits(2, None)
    member.online = False
    assert not (await one.acquire("t", limits, 0)).open
    await redis.start()
    member.online = True
    assert [(await one.acquire("t", limits, 0)).open for _ in range(5)] == [True] * 4 + [False]
    await one.close()


async def test_a_changed_limit_does_not_fill_the_bucket(redis: RedisServer) -> None:
    one = limiter(redis)
    await one.acquire("t", Limits(None, 6), 5)
    grown = await one.acquire("t", Limits(None, 60), 0)
    assert 1.0 <= grown.tokens_left < 1.2
    await one.close()


STEPS = st.lists(st.tuples(st.sampled_from(["a", "b"]), st.integers(0, 60), st.integers(0, 80)), max_size=25)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rpm=st.sampled_from([0, 2, 5]), tpm=st.sampled_from([0, 20, 50]), steps=STEPS)
async def test_the_script_answers_as_the_local_limiter_does(
    redis: RedisServer, rpm: int, tpm: int, steps: list[tuple[str, int, int]]
) -> None:
    """Each step asks for tokens and settles admitted requests by their use, on Redis's clock."""
    now = 0.0
    local = LocalLimiter(lambda: now)
    async with Redis.from_url(redis.url) as client:
        await client.flushall()
        for tenant, tokens, used in steps:
            reply = orjson.loads(await _call(client, [tenant, rpm, tpm, tokens]))
            now = float(reply["now"])
            expected = await local.acquire(tenant, Limits(rpm or None, tpm or None), tokens)
            assert reply["answers"][0] == pytest.approx(_answer(expected, rpm, tpm, reply["answers"][0]), abs=1e-3)
            if expected.open and tpm:
                reply = orjson.loads(await _call(client, [tenant, 0, tpm, tokens - used, True]))
                now = float(reply["now"])
                await local.settle(expected, used)


async def _call(client: Redis, ask: list[object]) -> bytes:
    reply: bytes = await client.eval(script("limiter.lua"), 1, "p:", orjson.dumps([ask]))
    return reply


def _answer(grant: Grant, rpm: int, tpm: int, seen: list[float]) -> list[float]:
    """Return the expected answer. A Grant holds only the longer wait, so the other is taken from the answer."""
    waits = seen[:2]
    assert (min(waits) == max(waits) == 0) is grant.open
    if not grant.open:
        longer = 0 if grant.refused_by == "requests" else 1
        waits[longer] = -1.0 if grant.retry_after == math.inf else grant.retry_after
    return [*waits, grant.requests_left if rpm else 0.0, grant.tokens_left if tpm else 0.0]
