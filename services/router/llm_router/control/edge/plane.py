"""The edge's way to the control plane: status, deploy, scale, and the load that the autoscaler needs to know.

An edge calls it from its own event loop; everything here runs in the loop of the Serve replica.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Coroutine, Mapping
from contextlib import suppress
from typing import Any, TypeVar

from llm_router.control.change_lock import ChangeLock
from llm_router.control.cluster import nodes
from llm_router.control.edge.engine_lists import EngineLists
from llm_router.control.rollouts.plan import InvalidConfig, plan, scaled
from llm_router.control.rollouts.state import status_of
from llm_router.control.rollouts.watch import follow, rollouts_under_way
from llm_router.control.scaling.surge import surge_percent
from llm_router.control.serve_controller import ControllerUnreachable, ServeController
from llm_router.settings import EnginesSettings
from llm_router.status import Status

POLL_SECONDS = 1.0
REPORT_SECONDS = 2.0
T = TypeVar("T")

log = logging.getLogger(__name__)


class ControlPlane:
    """Implements the edge's `Control`. Its public methods can be awaited in any event loop."""

    def __init__(
        self, edge_id: str, lists: EngineLists, controller: ServeController, changing: ChangeLock | None = None
    ) -> None:
        self._edge_id = edge_id
        self._lists = lists
        self._controller = controller
        self._loop = asyncio.get_running_loop()
        self._changing = changing or ChangeLock()
        """Held from reading the configuration to applying a changed one."""

    async def status(self) -> Status:
        return await self._here(self._status())

    async def deploy(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Deploy a configuration and return the status right after. Raise InvalidConfig, a ValueError."""
        return (await self._here(self._deploy(config))).model_dump(mode="json")

    async def scale(self, model: str, replicas: int) -> dict[str, Any]:
        """Give a model a fixed number of engines until the next deploy. Raise InvalidConfig, a ValueError."""
        return (await self._here(self._scale(model, replicas))).model_dump(mode="json")

    async def ask_for_capacity(self, model: str) -> None:
        """Hold a call open until an engine of the model runs: Serve counts it as a queued request.

        Returns at once if this edge does not know the model (yet).
        """
        await self._here(self._ticket(model))

    async def report_queue(self, model: str, waiting: int) -> None:
        """Tell the autoscaler how many requests wait at this edge; a report counts for three seconds."""
        await self._here(self._report(model, waiting))

    async def keep_up(self) -> None:
        """Follow the controller until cancelled: applications, models, failed rollouts."""
        while True:
            try:
                await self.poll()
            except ControllerUnreachable as error:
                log.warning("%s", error)
            except Exception:  # the next poll can do better, and nothing else follows the controller
                log.exception("following Serve's controller failed")
            await asyncio.sleep(POLL_SECONDS)

    async def poll(self) -> None:
        entries = await self._controller.entries()
        self._lists.update(entries)
        if rollouts_under_way(entries):
            async with self._changing():
                await follow(self._controller, now=time.time())

    async def _here(self, work: Coroutine[Any, Any, T]) -> T:
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))

    async def _status(self) -> Status:
        try:
            entries, details = await asyncio.gather(self._controller.entries(), self._controller.details())
        except ControllerUnreachable:
            return Status(controller="unreachable")
        return status_of(entries, details, self._lists.engines, await asyncio.to_thread(nodes))

    async def _deploy(self, config: Mapping[str, Any]) -> Status:
        free = [node.gpus_free for node in await asyncio.to_thread(nodes)]

        def surge(settings: EnginesSettings) -> int:
            return surge_percent(settings.surge, settings.gpus_per_engine, free)

        async with self._changing():
            entries = await self._controller.entries()
            await self._controller.apply(plan(config, entries, surge=surge, now=time.time()))
        return await self._status()

    async def _scale(self, model: str, replicas: int) -> Status:
        if replicas < 1:
            raise InvalidConfig(f"cannot scale {model} to {replicas}; at least 1, or autoscaling.min 0 in its args")
        async with self._changing():
            await self._controller.apply(scaled(await self._controller.entries(), model, replicas))
        return await self._status()

    async def _ticket(self, model: str) -> None:
        handle = await self._lists.handle_of(model)
        if handle is None:
            return
        call = handle.ping.remote()
        try:
            await call
        except asyncio.CancelledError:
            call.cancel()
            raise

    async def _report(self, model: str, waiting: int) -> None:
        application = self._lists.application_of.get(model)
        if application is None or application not in self._lists.engines:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(REPORT_SECONDS):
                await self._lists.handles[application].report_queue.remote(self._edge_id, waiting)
