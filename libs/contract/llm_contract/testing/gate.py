"""A gate parks tasks until the test lets them go on, so that no test has to sleep and hope."""

from __future__ import annotations

import asyncio
from collections import deque


class Gate:
    """Open at first: `wait` returns at once. Closed, it parks its callers, first in first out.

    `open` lets everybody through from now on; `release(n)` lets n through and leaves the gate closed.
    """

    def __init__(self) -> None:
        self._is_open = True
        self._passes = 0
        self._parked: deque[asyncio.Future[None]] = deque()

    @property
    def parked(self) -> int:
        """Number of tasks that wait at the gate."""
        return sum(not waiter.done() for waiter in self._parked)

    def close(self) -> None:
        self._is_open = False
        self._passes = 0

    def open(self) -> None:
        self._is_open = True
        while self._parked:
            self._wake(self._parked.popleft())

    def release(self, count: int = 1) -> None:
        """Let `count` tasks through, parked ones first; tasks that come later use up the rest."""
        self._passes += count
        while self._passes and self._parked:
            self._passes -= self._wake(self._parked.popleft())

    async def wait(self) -> None:
        if self._is_open:
            return
        if self._passes:
            self._passes -= 1
            return
        waiter = asyncio.get_running_loop().create_future()
        self._parked.append(waiter)
        await waiter

    @staticmethod
    def _wake(waiter: asyncio.Future[None]) -> bool:
        if waiter.done():
            return False
        waiter.set_result(None)
        return True
