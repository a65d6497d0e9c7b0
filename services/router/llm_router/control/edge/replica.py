"""A replica of the `edge` application: an edge server with its own listener, in a thread with its own event loop.

Serve starts, replaces and stops it, and never sees its requests.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import os
import threading
from collections.abc import Coroutine
from typing import Any

import uvloop
from ray import serve

from llm_contract import logs
from llm_router.control import memory
from llm_router.control.edge.engine_lists import EngineLists
from llm_router.control.edge.plane import ControlPlane
from llm_router.control.edge.settings import EdgeAppSettings
from llm_router.control.serve_controller import ServeController

SERVER = "LLM_ROUTER_EDGE_SERVER"
"""Environment variable with another class for the edge server, `module:function`; tests set it."""
DEFAULT_SERVER = "llm_router.control.edge.server:make_server"

log = logging.getLogger(__name__)


class Edge:
    """One edge. Its constructor returns when the edge listens."""

    async def __init__(self, args: dict[str, Any]) -> None:  # type: ignore[misc]  # Serve awaits it
        self.settings = EdgeAppSettings(**args)
        logs.configure("llm-router", self.settings.log_format, logging.WARNING)
        self._loop = uvloop.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True, name="edge").start()
        edge_id = serve.get_replica_context().replica_id.unique_id
        lists = EngineLists(self._set_models, self._set_engines)
        self.control = ControlPlane(edge_id, lists, ServeController())
        module, _, function = os.environ.get(SERVER, DEFAULT_SERVER).partition(":")
        self.server, self.fleet = getattr(importlib.import_module(module), function)(self.settings, self.control)
        await self.control.poll()
        await self._in_edge(self.server.start())
        self._following = asyncio.create_task(self.control.keep_up())
        self._draining = False
        memory.give_back()

    def _set_models(self, models: Any) -> None:
        self._loop.call_soon_threadsafe(lambda: self.fleet.set_models(models))

    def _set_engines(self, application: str, infos: Any) -> None:
        self._loop.call_soon_threadsafe(lambda: self.fleet.set_engines(application, infos))

    async def _in_edge(self, work: Coroutine[Any, Any, Any]) -> Any:
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))

    def reconfigure(self, user_config: dict[str, Any]) -> None:
        """Accept a changed `user_config`: the next poll of the controller, within a second, applies it."""

    async def url(self) -> str:
        """Return the URL for clients."""
        return str(self.server.url)

    async def check_health(self) -> None:
        """Fail if the edge's event loop does not run."""
        async with asyncio.timeout(5):
            await self._in_edge(asyncio.sleep(0))

    async def __del__(self) -> None:
        """Lame duck: the listener closes while other edges share the port, and requests in flight finish."""
        if getattr(self, "_draining", True):
            return
        self._draining = True
        self._following.cancel()
        await self._in_edge(self.server.drain())
