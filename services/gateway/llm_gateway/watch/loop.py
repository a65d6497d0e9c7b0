"""Something to do for every engine, over and over, while engines come and go.

A slow engine delays only itself: its next turn begins when its last one has ended. One whose turn raises an exception
that the action does not expect is logged in one line, once, and has its next turn as usual.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from llm_gateway.engines import Engine, EnginePool

log = logging.getLogger(__name__)


class EngineLoop:
    def __init__(self, pool: EnginePool, action: Callable[[Engine], Awaitable[None]], interval: float) -> None:
        self._pool = pool
        self._action = action
        self._interval = interval
        self._failing: dict[str, str] = {}
        """The last unexpected exception of each engine, by its name."""
        self._busy: dict[Engine, asyncio.Task[None]] = {}
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Returns after the first round, so that the gateway starts with a true picture."""
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
        except Exception as error:  # noqa: BLE001  one odd engine must not end the watch over the others
            what = f"{type(error).__name__}: {error}"
            if self._failing.get(engine.name) != what:
                self._failing[engine.name] = what
                log.error("engine %s: watching it failed: %s", engine.name, what)
        else:
            self._failing.pop(engine.name, None)
