"""The lock under which an edge changes Serve's configuration.

A change reads the whole configuration and writes the whole back, so two at once would lose one. Edges on several nodes
share nothing but Ray's key-value store, whose insertion is atomic. The edge that inserts the key holds the lock. When a
holder dies, another edge takes the lock once the lease has ended: a second insertion, under a key named after the dead
holder, decides which of the waiting edges takes it.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol

import orjson
from ray.experimental import internal_kv

KEY = "configuration-lock"
NAMESPACE = "llm_router"
HOLD_SECONDS = 30.0
"""Longest time that a change takes; it is cancelled then."""
LEASE_SECONDS = 90.0
"""Time after which a holder is taken for dead. The difference allows for clocks that disagree."""
RETRY_SECONDS = 0.05


class Store(Protocol):
    """Ray's key-value store, or a test's. Calls block."""

    def insert(self, key: str, value: bytes) -> bool:
        """Store the value unless the key exists; return whether it was stored."""
        ...

    def get(self, key: str) -> bytes | None: ...

    def put(self, key: str, value: bytes) -> None: ...

    def delete(self, key: str) -> None: ...


class ChangeLock:
    """A lock shared by all edges of a cluster."""

    def __init__(self, store: Store | None = None) -> None:
        self._store = store or RayStore()

    @asynccontextmanager
    async def __call__(self) -> AsyncIterator[None]:
        """Hold the lock in the block. TimeoutError if the block takes longer than HOLD_SECONDS."""
        mine = uuid.uuid4().hex
        while not await asyncio.to_thread(self._try, mine):  # noqa: ASYNC110 (the store cannot notify)
            await asyncio.sleep(RETRY_SECONDS)
        try:
            async with asyncio.timeout(HOLD_SECONDS):
                yield
        finally:
            await asyncio.shield(asyncio.to_thread(self._store.delete, KEY))

    def _try(self, mine: str) -> bool:
        value = orjson.dumps({"holder": mine, "until": time.time() + LEASE_SECONDS})
        if self._store.insert(KEY, value):
            return True
        found = self._store.get(KEY)
        if found is None:
            return False
        other = orjson.loads(found)
        if time.time() < other["until"] or not self._store.insert(f"{KEY}/{other['holder']}", b""):
            return False
        self._store.put(KEY, value)
        return True


class RayStore:
    """The key-value store of the cluster that this process is connected to."""

    def insert(self, key: str, value: bytes) -> bool:
        return not internal_kv._internal_kv_put(key, value, overwrite=False, namespace=NAMESPACE)

    def get(self, key: str) -> bytes | None:
        value: bytes | None = internal_kv._internal_kv_get(key, namespace=NAMESPACE)
        return value

    def put(self, key: str, value: bytes) -> None:
        internal_kv._internal_kv_put(key, value, overwrite=True, namespace=NAMESPACE)

    def delete(self, key: str) -> None:
        internal_kv._internal_kv_del(key, namespace=NAMESPACE)
