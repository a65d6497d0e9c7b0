"""The live state of the edge and of the control plane, for `llm-router status` and for the page at /-/."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import cache
from importlib import resources
from typing import Any

from aiohttp import web

from llm_proxy.edge.responses import json_response
from llm_report.theme import style_sheet
from llm_router.edge.control import Control
from llm_router.fleet import Engine, Fleet
from llm_router.fleet.targets import targets
from llm_router.status import Status

CONTROL_TIMEOUT = 10.0
PATIENCE_SECONDS = 1.0
"""Time after which the control plane is said not to answer."""
GLANCE_SECONDS = 0.02
"""Time that a page waits for the control plane if it has an earlier state to show."""
FRESH_SECONDS = 0.5
"""Age up to which the control plane's state is shown again, so that many viewers cost it no more than one."""


class StatusPages:
    """The handlers of /-/, /-/status and /-/targets. `requests` returns open and finished requests."""

    def __init__(
        self,
        fleet: Fleet,
        control: Control | None,
        *,
        depth: Callable[[], dict[str, int]],
        requests: Callable[[], dict[str, Any]],
    ) -> None:
        self._fleet = fleet
        self._control = control
        self._depth = depth
        self._requests = requests
        self._reading: asyncio.Task[Status] | None = None
        self._read_at = 0.0
        self.last: Status | None = None
        """The last state that the control plane has told."""

    async def page(self, _: web.Request) -> web.Response:
        """Handle GET /-/."""
        return web.Response(text=_page(), content_type="text/html")

    async def targets(self, _: web.Request) -> web.Response:
        """Handle GET /-/targets."""
        return json_response(targets(self._fleet.engines()))

    async def show(self, _: web.Request) -> web.Response:
        """Handle GET /-/status."""
        control_error = ""
        try:
            state = await self.of_control(GLANCE_SECONDS if self.last else PATIENCE_SECONDS)
        except TimeoutError:
            state = self.last
            if time.monotonic() - self._read_at >= PATIENCE_SECONDS:
                control_error = "it does not answer; its last known state is shown"
        except Exception as error:  # noqa: BLE001  the edge's own state is worth showing without the control plane
            state, control_error = self.last, f"{type(error).__name__}: {error}"
        found = {
            "time": time.time(),
            "requests": self._requests(),
            "models": self._models(),
            "control": None if state is None else state.model_dump(mode="json"),
        }
        return json_response({**found, "control_error": control_error} if control_error else found)

    def forget(self) -> None:
        """Ask the control plane anew for the next page: its state has just been changed."""
        self._reading = None

    async def of_control(self, patience: float) -> Status | None:
        """Return the control plane's state, at most FRESH_SECONDS old; None without one.

        Raise its errors, and TimeoutError if it does not answer within `patience` seconds.
        """
        if self._control is None:
            return None
        now = time.monotonic()
        if self._reading is None or (self._reading.done() and now - self._read_at > FRESH_SECONDS):
            self._read_at = now
            self._reading = asyncio.create_task(self._read(self._control))
            self._reading.add_done_callback(lambda task: task.cancelled() or task.exception())
        async with asyncio.timeout(patience):
            return await asyncio.shield(self._reading)

    async def _read(self, control: Control) -> Status:
        async with asyncio.timeout(CONTROL_TIMEOUT):
            state = await control.status()
        if asyncio.current_task() is self._reading:
            self.last = state
        return state

    def _models(self) -> list[dict[str, Any]]:
        depth = self._depth()
        return [
            {
                "name": name,
                "policy": model.policy,
                "queue": model.queue,
                "waiting": depth.get(name, 0),
                "max_running": model.max_running,
                "engines": [_engine(one) for one in self._fleet.engines(name)],
            }
            for name, model in sorted(self._fleet.models.items())
        ]


def _engine(engine: Engine) -> dict[str, Any]:
    info, signals = engine.info, engine.signals
    return {
        **info.to_dict(),
        "name": engine.shown,
        "up": engine.is_up,
        "reason": engine.reason if engine.ejected else "",
        "in_flight": engine.in_flight,
        "load": engine.load,
        "running": None if signals is None else signals.running,
        "waiting": None if signals is None else signals.waiting,
        "kv_usage": None if signals is None else signals.kv_usage,
    }


@cache
def _page() -> str:
    page = resources.files(__package__).joinpath("page.html").read_text(encoding="utf-8")
    return page.replace("/* theme */", style_sheet())
