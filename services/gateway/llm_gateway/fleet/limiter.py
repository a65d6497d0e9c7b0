"""Rate limits of a tenant, in requests and tokens per minute over all gateways.

The buckets of `tenancy.rate_limit` live in Redis (limiter.lua) and refill on its clock. Requests that arrive during a
call share the next call, so a busy gateway makes few calls. A settlement never waits.

While Redis is out of reach, each gateway has its own buckets with its share of the limits (FleetClient.share). A charge
in Redis whose request ends during that time is not settled; a local charge is settled locally. A Redis that lost its
data starts with full buckets, which admits at most one minute's worth too much.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

import orjson

from llm_gateway.fleet.link import GONE, connection, script
from llm_gateway.fleet.settings import FleetSettings
from llm_gateway.tenancy.rate_limit import Grant, Limits, LocalLimiter

log = logging.getLogger(__name__)

Ask = tuple[str, int, int, int] | tuple[str, int, int, int, bool]
Answer = tuple[float, float, float, float]
"""Waits for requests and tokens in seconds, -1 for never; requests and tokens left."""


class Membership(Protocol):
    """The state of the fleet: whether Redis answers, and this gateway's share of a limit. FleetClient implements it."""

    @property
    def online(self) -> bool: ...

    def share(self, limit: int) -> int: ...


@dataclass(slots=True)
class SharedGrant(Grant):
    """A grant that was charged in Redis and is settled there."""


class RedisLimiter:
    """A `Limiter` in Redis. `clock` is monotonic, in seconds, and used only while Redis is out of reach."""

    def __init__(
        self, settings: FleetSettings, membership: Membership, clock: Callable[[], float] = time.monotonic
    ) -> None:
        assert settings.redis_url is not None
        self._redis = connection(settings.redis_url.get_secret_value(), settings.timeout)
        self._script = self._redis.register_script(script("limiter.lua"))
        self._prefix = f"{{{settings.name}}}:"
        self._membership = membership
        self._local = LocalLimiter(clock)
        self._asks: list[tuple[Ask, asyncio.Future[Answer | None] | None]] = []
        self._sending: asyncio.Task[None] | None = None

    def keep(self, tenants: frozenset[str]) -> None:
        """Drop the local buckets of all other tenants. Those in Redis expire."""
        self._local.keep(tenants)

    async def acquire(self, tenant: str, limits: Limits, tokens: int) -> Grant:
        if (limits.requests is None and limits.tokens is None) or not self._membership.online:
            return await self._acquire_locally(tenant, limits, tokens)
        answer: asyncio.Future[Answer | None] = asyncio.get_running_loop().create_future()
        self._ask((tenant, limits.requests or 0, limits.tokens or 0, tokens), answer)
        found = await answer
        if found is None:
            return await self._acquire_locally(tenant, limits, tokens)
        return _grant(tenant, limits, tokens, found)

    async def settle(self, grant: Grant, used: int) -> None:
        if not isinstance(grant, SharedGrant):
            await self._local.settle(grant, used)
        elif grant.open:
            grant.open = False
            if grant.limits.tokens is not None and grant.tokens != used:
                self._ask((grant.tenant, 0, grant.limits.tokens, grant.tokens - used, True), None)

    async def close(self) -> None:
        """Close the connection after the last settlement is sent."""
        if self._sending is not None:
            await asyncio.wait((self._sending,))
        with suppress(*GONE):
            await self._redis.aclose()

    async def _acquire_locally(self, tenant: str, limits: Limits, tokens: int) -> Grant:
        return await self._local.acquire(tenant, self._share(limits), tokens)

    def _share(self, limits: Limits) -> Limits:
        share = self._membership.share
        return Limits(*(None if one is None else share(one) for one in (limits.requests, limits.tokens)))

    def _ask(self, ask: Ask, answer: asyncio.Future[Answer | None] | None) -> None:
        self._asks.append((ask, answer))
        if self._sending is None or self._sending.done():
            self._sending = asyncio.create_task(self._send_all())

    async def _send_all(self) -> None:
        while self._asks:
            batch, self._asks = self._asks, []
            answers = await self._send([ask for ask, _ in batch])
            for (ask, waiter), found in zip(batch, answers, strict=True):
                if waiter is not None and not waiter.done():
                    waiter.set_result(found)
                elif waiter is not None and found is not None and found[0] == found[1] == 0:
                    self._put_back(ask)

    async def _send(self, asks: list[Ask]) -> list[Answer | None]:
        """Return an answer to each ask, None without Redis. The charge of a lost reply can stay: too strict."""
        try:
            raw = await self._script(keys=[self._prefix], args=[orjson.dumps(asks)])
        except GONE:
            return [None] * len(asks)
        answers = _answers(raw, len(asks))
        if answers is None:
            log.error("the fleet's Redis sent an invalid answer to the limiter; limits are local")
            return [None] * len(asks)
        return answers

    def _put_back(self, ask: Ask) -> None:
        """Give back the tokens of a client that hung up during the call."""
        tenant, _, tpm, tokens = ask[:4]
        if tpm:
            self._asks.append(((tenant, 0, tpm, tokens, True), None))


def _answers(raw: bytes, count: int) -> list[Answer | None] | None:
    """Return an answer to each of `count` asks, None for a settlement. Return None for an invalid reply."""
    try:
        found = orjson.loads(raw)["answers"]
        answers = [_answer(one) if one else None for one in found]
    except (ValueError, LookupError, TypeError):
        return None
    return answers if len(answers) == count else None


def _answer(found: Any) -> Answer:
    requests, tokens, requests_left, tokens_left = map(float, found)
    return requests, tokens, requests_left, tokens_left


def _grant(tenant: str, limits: Limits, tokens: int, answer: Answer) -> SharedGrant:
    wait_requests, wait_tokens = (math.inf if wait < 0 else wait for wait in answer[:2])
    grant = SharedGrant(tenant, limits)
    grant.requests_left = answer[2] if limits.requests is not None else math.inf
    grant.tokens_left = answer[3] if limits.tokens is not None else math.inf
    if wait_requests or wait_tokens:
        grant.retry_after = max(wait_requests, wait_tokens)
        grant.refused_by = "requests" if wait_requests >= wait_tokens else "tokens"
    else:
        grant.open, grant.tokens = True, tokens
    return grant
