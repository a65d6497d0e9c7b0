"""Something to do for every engine, over and over, while engines come and go.

A slow engine delays only itself: its next turn begins when its last one has ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from llm_gateway.engines import Engine, EnginePool


class EngineLoop:
    def __init__(self, pool: EnginePool, action: Callable[[Engine], Awaitable[None]], interval: float) -> None:
        self._pool = pool
        self._action = action
        self._interval = interval
        self._busy: dict[Engine, asyncio.Task[None]] = {}
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Returns after the first round, so that the gateway starts with a true picture."""
        await asyncio.gather(*(self._action(engine) for engine in self._pool.watched()))
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        tasks = [task for task in (self._task, *self._busy.values()) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._interval)
            for engine in self._pool.watched():
                if engine not in self._busy:
                    self._busy[engine] = asyncio.create_task(self._turn(engine))

    async def _turn(self, engine: Engine) -> None:
        try:
            await self._action(engine)
        finally:
            del self._busy[engine]
