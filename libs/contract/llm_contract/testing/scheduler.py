"""The scheduler of a scripted engine: running slots and a finite KV cache, by arrival or by priority.

As in vLLM the head of the queue blocks: while it does not fit, no request behind it starts. Unlike vLLM, a request
holds the KV tokens of its prompt and its whole answer from the start, so nothing is preempted.
"""

from __future__ import annotations

import asyncio
import heapq
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import count

from llm_contract.testing.script import Script


class SlotScheduler:
    """Slots and KV tokens, and the time during which they were in use."""

    def __init__(self, script: Script, clock: Callable[[], float] = time.monotonic) -> None:
        self._script = script
        self._clock = clock
        self._since = clock()
        """Time up to which the two sums below count."""
        self._busy_seconds = 0.0
        self._slot_seconds = 0.0
        self._heap: list[tuple[int, int, int, asyncio.Future[None]]] = []
        """(priority, order of arrival, KV tokens, resolved when it starts)"""
        self._order = count()
        self.running = 0
        self.waiting = 0
        self.kv_used = 0
        """Tokens."""

    @asynccontextmanager
    async def slot(self, kv_tokens: int, priority: int) -> AsyncIterator[None]:
        """Enter the block when the request starts; release its slot and KV tokens at the end."""
        await self._start(kv_tokens, priority)
        try:
            yield
        finally:
            self._give_back(kv_tokens)

    @property
    def kv_usage(self) -> float:
        """KV usage, 0 to 1; with unlimited KV the share of running slots that are taken."""
        if self._script.kv_tokens:
            return self.kv_used / self._script.kv_tokens
        return self.running / self._script.max_running if self._script.max_running else 0.0

    def usage(self) -> tuple[float, float]:
        """Return the seconds so far with a request running, and the sum over requests of the seconds they ran."""
        now = self._clock()
        elapsed, self._since = now - self._since, now
        self._busy_seconds += elapsed if self.running else 0.0
        self._slot_seconds += elapsed * self.running
        return self._busy_seconds, self._slot_seconds

    async def _start(self, kv_tokens: int, priority: int) -> None:
        if not self.waiting and self._fits(kv_tokens):
            self._take(kv_tokens)
            return
        started: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        rank = priority if self._script.scheduling == "priority" else 0
        heapq.heappush(self._heap, (rank, next(self._order), kv_tokens, started))
        self.waiting += 1
        try:
            await started
        except asyncio.CancelledError:
            self._withdraw(kv_tokens, started)
            raise

    def _withdraw(self, kv_tokens: int, started: asyncio.Future[None]) -> None:
        if started.cancelled():
            self.waiting -= 1
            self._pump()
        else:
            self._give_back(kv_tokens)

    def _give_back(self, kv_tokens: int) -> None:
        self.usage()
        self.running -= 1
        self.kv_used -= kv_tokens
        self._pump()

    def _pump(self) -> None:
        while self._heap:
            *_, kv_tokens, started = self._heap[0]
            if not started.done():
                if not self._fits(kv_tokens):
                    return
                self.waiting -= 1
                self._take(kv_tokens)
                started.set_result(None)
            heapq.heappop(self._heap)

    def _take(self, kv_tokens: int) -> None:
        self.usage()
        self.running += 1
        self.kv_used += kv_tokens

    def _fits(self, kv_tokens: int) -> bool:
        script = self._script
        slot_free = not script.max_running or self.running < script.max_running
        return slot_free and (not script.kv_tokens or self.kv_used + kv_tokens <= script.kv_tokens)
