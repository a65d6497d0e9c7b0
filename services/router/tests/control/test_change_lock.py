"""The lock of changes: one holder at a time, and a dead one is followed by exactly one."""

from __future__ import annotations

import asyncio
import threading
import time

import orjson
import pytest

from llm_router.control import change_lock
from llm_router.control.change_lock import KEY, ChangeLock, RayStore


class Memory:
    """A store in memory with atomic insertion."""

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}
        self._lock = threading.Lock()

    def insert(self, key: str, value: bytes) -> bool:
        with self._lock:
            return self.values.setdefault(key, value) is value

    def get(self, key: str) -> bytes | None:
        return self.values.get(key)

    def put(self, key: str, value: bytes) -> None:
        self.values[key] = value

    def delete(self, key: str) -> None:
        self.values.pop(key, None)


class Counter:
    """A number that is read, then written: without a lock, counts are lost."""

    def __init__(self) -> None:
        self.value = 0

    async def increase(self, lock: ChangeLock) -> None:
        async with lock():
            before = self.value
            await asyncio.sleep(0)
            self.value = before + 1


async def test_edges_change_one_after_the_other() -> None:
    store, counter = Memory(), Counter()
    edges = [ChangeLock(store) for _ in range(3)]
    await asyncio.gather(*(counter.increase(edge) for edge in edges for _ in range(5)))
    assert counter.value == 15
    assert store.values == {}


async def test_of_many_that_wait_one_follows_a_dead_holder() -> None:
    store, counter = Memory(), Counter()
    store.put(KEY, orjson.dumps({"holder": "dead", "until": time.time() - 1}))
    edges = [ChangeLock(store) for _ in range(8)]
    await asyncio.gather(*(counter.increase(edge) for edge in edges))
    assert counter.value == 8
    assert KEY not in store.values


async def test_a_living_holder_is_waited_for() -> None:
    store = Memory()
    async with ChangeLock(store)():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await Counter().increase(ChangeLock(store))
    await Counter().increase(ChangeLock(store))


async def test_a_change_that_hangs_ends_before_its_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(change_lock, "HOLD_SECONDS", 0.05)
    store = Memory()
    with pytest.raises(TimeoutError):
        async with ChangeLock(store)():
            await asyncio.Event().wait()
    assert store.values == {}
    assert change_lock.HOLD_SECONDS < change_lock.LEASE_SECONDS


@pytest.mark.usefixtures("router")
def test_rays_store_inserts_once() -> None:
    store = RayStore()
    assert store.insert("test", b"1")
    assert not store.insert("test", b"2")
    assert store.get("test") == b"1"
    store.put("test", b"3")
    assert store.get("test") == b"3"
    store.delete("test")
    assert store.get("test") is None
