"""The connections to Redis: one for calls and one that listens. Neither retries; the caller handles errors.

The listener has its own connection, as a subscribed connection cannot make calls.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from importlib import resources

from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

GONE = (RedisError, OSError, TimeoutError)
"""The exceptions of a failed call to Redis."""


def script(name: str) -> str:
    """Return the text of a Lua script."""
    return resources.files("llm_gateway.fleet").joinpath(name).read_text(encoding="utf-8")


def connection(url: str, timeout: float | None) -> Redis:
    """Return a client with one connection, opened by its first command. `timeout` for answers is in seconds."""
    return Redis.from_url(
        url,
        single_connection_client=True,
        socket_timeout=timeout,
        socket_connect_timeout=timeout or 1.0,
        retry=Retry(NoBackoff(), 0),
    )


class Link:
    """Open connections to Redis. Any method can raise one of GONE."""

    def __init__(self, redis: Redis, prefix: str, digest: str) -> None:
        self._redis = redis
        self._prefix = prefix
        self._digest = digest
        self.broken: BaseException | None = None
        """The reason why the listener has ended; None while it runs."""

    async def call(self, payload: bytes) -> bytes:
        if self.broken is not None:
            raise ConnectionError("the listener has disconnected") from self.broken
        reply: bytes = await self._redis.evalsha(self._digest, 1, self._prefix, payload)
        return reply

    async def time(self) -> float:
        seconds, microseconds = await self._redis.time()
        return float(seconds) + float(microseconds) / 1e6


@asynccontextmanager
async def connected(
    url: str, prefix: str, replica: str, timeout: float, *, on_wake: Callable[[], None]
) -> AsyncIterator[Link]:
    """Connect for the time of the block. `on_wake` is called when grants wait, and when the listener has ended."""
    caller, listener = connection(url, timeout), connection(url, None)
    pubsub = listener.pubsub(ignore_subscribe_messages=True)
    listening: asyncio.Task[None] | None = None
    try:
        async with asyncio.timeout(2 * timeout):
            await pubsub.subscribe(f"{prefix}wake:{replica}")
            link = Link(caller, prefix, await caller.script_load(script("order.lua")))
        listening = asyncio.create_task(_listen(pubsub, link, on_wake))
        yield link
    finally:
        if listening is not None:
            listening.cancel()
            await asyncio.wait((listening,), timeout=timeout)
        for one in (pubsub, listener, caller):
            with suppress(*GONE):
                await one.aclose()


async def _listen(pubsub: PubSub, link: Link, on_wake: Callable[[], None]) -> None:
    try:
        async for _ in pubsub.listen():
            on_wake()
        link.broken = ConnectionError("unsubscribed")
    except GONE as error:
        link.broken = error
    on_wake()
