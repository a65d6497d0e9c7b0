"""Requests and tokens per minute of a tenant, counted over all gateways.

The buckets of `tenancy.rate_limit` live in Redis (limiter.lua) and refill on its clock. Requests that come during
a call share the next one, so a busy gateway makes few calls. A settlement never waits.

When Redis is gone each gateway has its own buckets of its share of the limits (FleetClient.share). What was charged in
Redis before and ends meanwhile is not settled; what was charged here is settled here. A Redis that lost its data starts
with full buckets: at most one minute's worth too much.
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
    """FleetClient: whether Redis answers, and what to do without."""

    @property
    def online(self) -> bool: ...

    def share(self, limit: int) -> int: ...


@dataclass(slots=True)
class SharedGrant(Grant):
    """Charged in Redis, and to be settled there."""


class RedisLimiter:
    """A `Limiter`. `clock` is monotonic, in seconds, and for the time without Redis only."""

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
        """Forgets the local buckets of everybody else; those in Redis expire."""
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
        """After the last settlement was sent."""
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
        """An answer to each, None if Redis has none. A call whose reply was lost may have charged: too strict, once."""
        try:
            raw = await self._script(keys=[self._prefix], args=[orjson.dumps(asks)])
        except GONE:
            return [None] * len(asks)
        answers = _answers(raw, len(asks))
        if answers is None:
            log.error("the fleet's Redis answered what is no answer of the limiter; limits are local")
            return [None] * len(asks)
        return answers

    def _put_back(self, ask: Ask) -> None:
        """Give back the tokens of a client that went away during the call."""
        tenant, _, tpm, tokens = ask[:4]
        if tpm:
            self._asks.append(((tenant, 0, tpm, tokens, True), None))


def _answers(raw: bytes, count: int) -> list[Answer | None] | None:
    """Return an answer to each of `count` asks, None for a settlement's; None for a reply that is anything else."""
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
