"""The queue as the autoscaler's signal.

Every second each model's number of waiting requests goes to the control plane. Where requests wait and no engine is up,
a call for capacity is held open as well: it starts the first engine of a model that is scaled to zero.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress

from llm_router.edge.control import Control
from llm_router.fleet import Fleet

REPORT_SECONDS = 1.0

log = logging.getLogger(__name__)


class Demand:
    """Reports the queues of all models. `depth` returns the number of waiting requests by model."""

    def __init__(self, control: Control, fleet: Fleet, depth: Callable[[], dict[str, int]]) -> None:
        self._control = control
        self._fleet = fleet
        self._depth = depth
        self._calls: dict[str, asyncio.Task[None]] = {}
        """The call for capacity that is open for a model."""
        self._reported: set[str] = set()
        """Models whose last report was not 0."""
        self._waits = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        tasks = [task for task in (self._task, *self._calls.values()) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def waits(self, model: str) -> None:
        """React at once to a request that waits and has no engine that is up."""
        if not self._fleet.up(model):
            self._waits.set()

    async def _run(self) -> None:
        while True:
            depth = self._depth()
            self._call_for_capacity(depth)
            await asyncio.gather(*(self._report(model, waiting) for model, waiting in depth.items()))
            self._waits.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(REPORT_SECONDS):
                    await self._waits.wait()

    def _call_for_capacity(self, depth: dict[str, int]) -> None:
        needed = {model for model, waiting in depth.items() if waiting and not self._fleet.up(model)}
        for model in needed - self._calls.keys():
            self._calls[model] = asyncio.create_task(self._call(model))
        for model in self._calls.keys() - needed:
            self._calls[model].cancel()

    async def _call(self, model: str) -> None:
        try:
            await self._control.ask_for_capacity(model)
        except Exception as error:  # noqa: BLE001  the next round asks again
            log.warning("no capacity for %s yet: %s", model, error)
        finally:
            del self._calls[model]

    async def _report(self, model: str, waiting: int) -> None:
        if not waiting and model not in self._reported:
            return
        try:
            async with asyncio.timeout(REPORT_SECONDS):
                await self._control.report_queue(model, waiting)
        except Exception as error:  # noqa: BLE001  requests are served without the control plane
            log.warning("the queue of %s was not reported: %s", model, error)
        (self._reported.add if waiting else self._reported.discard)(model)
