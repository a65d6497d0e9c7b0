"""Repeat an action for every engine, while engines are added and removed.

A slow engine delays only itself: its next turn begins after its last one has ended. An unexpected exception in a turn
is logged once, in one line, and the engine gets its next turn as usual.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from llm_gateway.engines import Engine, EnginePool

log = logging.getLogger(__name__)


class EngineLoop:
    """Runs `action` for each engine every `interval` seconds."""

    def __init__(self, pool: EnginePool, action: Callable[[Engine], Awaitable[None]], interval: float) -> None:
        self._pool = pool
        self._action = action
        self._interval = interval
        self._failing: dict[str, str] = {}
        """The last unexpected exception by engine name."""
        self._busy: dict[Engine, asyncio.Task[None]] = {}
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Run the first round, then start the loop. So the gateway starts with the true state of its engines."""
        await asyncio.gather(*(self._act(engine) for engine in self._pool.watched()))
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
            await self._act(engine)
        finally:
            del self._busy[engine]

    async def _act(self, engine: Engine) -> None:
        try:
            await self._action(engine)
        except Exception as error:  # noqa: BLE001  one engine must not end the watch over the others
            what = f"{type(error).__name__}: {error}"
            if self._failing.get(engine.name) != what:
                self._failing[engine.name] = what
                log.error("engine %s: watching it failed: %s", engine.name, what)
        else:
            self._failing.pop(engine.name, None)
