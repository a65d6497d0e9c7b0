"""Repeat an action for every engine, while engines come and go.

A slow engine delays only itself: its next turn begins after its last one has ended. An unexpected exception in a turn
is logged once, in one line, and the engine gets its next turn as usual.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Generic, TypeVar

from llm_proxy.upstream.target import Target

log = logging.getLogger(__name__)

E = TypeVar("E", bound=Target)


class EngineLoop(Generic[E]):
    """Runs `action` for each of `engines()` every `interval` seconds."""

    def __init__(
        self, engines: Callable[[], Iterable[E]], action: Callable[[E], Awaitable[None]], interval: float
    ) -> None:
        self._engines = engines
        self._action = action
        self._interval = interval
        self._failing: dict[str, str] = {}
        """The last unexpected exception by engine."""
        self._busy: dict[E, asyncio.Task[None]] = {}
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Run the first round, then start the loop. So the service starts with the true state of its engines."""
        await asyncio.gather(*(self._act(engine) for engine in self._engines()))
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        tasks = [task for task in (self._task, *self._busy.values()) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._interval)
            for engine in self._engines():
                if engine not in self._busy:
                    self._busy[engine] = asyncio.create_task(self._turn(engine))

    async def _turn(self, engine: E) -> None:
        try:
            await self._act(engine)
        finally:
            del self._busy[engine]

    async def _act(self, engine: E) -> None:
        try:
            await self._action(engine)
        except Exception as error:  # noqa: BLE001  one engine must not end the watch over the others
            what = f"{type(error).__name__}: {error}"
            if self._failing.get(engine.shown) != what:
                self._failing[engine.shown] = what
                log.error("engine %s: watching it failed: %s", engine.shown, what)
        else:
            self._failing.pop(engine.shown, None)
