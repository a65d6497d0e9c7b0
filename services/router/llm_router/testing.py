"""Fleets and edges for tests.

fleet = fleet_of(3, max_running=8)                                  # engines that do not exist

async with ScriptedEngine() as engine, RunningEdge(engine.url) as edge:
    async with aiohttp.ClientSession() as client: … edge.url …
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, Self

from llm_router.edge.control import Control
from llm_router.edge.server import EdgeServer
from llm_router.edge.settings import EdgeSettings
from llm_router.fleet import Engine, EngineInfo, Fleet
from llm_router.fleet.watch import WatchSettings
from llm_router.settings import ModelSettings

MODEL = "scripted"
POLL_SECONDS = 0.002
QUICK_WATCH = WatchSettings(signals_interval=0.02, probe_interval=0.02, signals_timeout=0.2, probe_timeout=0.2)


def info(name: str, *, model: str = MODEL, url: str = "", version: str = "v1") -> EngineInfo:
    return EngineInfo(id=name, model=model, url=url or f"http://{name}:8000", version=version)


def fleet_of(engines: int, *, max_running: int = 8, clock: Callable[[], float] = time.monotonic) -> Fleet:
    """Return a fleet of engines e0, e1, … that do not exist."""
    fleet = Fleet(clock=clock)
    fleet.set_models([ModelSettings(name=MODEL, max_running=max_running)])
    fleet.set_engines("test", [info(f"e{number}") for number in range(engines)])
    return fleet


class RunningEdge:
    """An edge that serves inside the `async with` block, in the test's event loop.

    `engines` are URLs of engines of one model, named e0, e1, …; `model` has its settings. Other keyword arguments are
    settings of the edge.
    """

    def __init__(
        self, *engines: str, model: dict[str, Any] | None = None, control: Control | None = None, **settings: Any
    ) -> None:
        self.fleet = Fleet()
        self.fleet.set_models([ModelSettings(name=MODEL, **(model or {}))])
        self.list(*engines)
        quick = {"port": 0, "admin_port": None, "watch": QUICK_WATCH, "edge_drain_timeout": 10.0}
        self.server = EdgeServer(EdgeSettings(**{**quick, **settings}), fleet=self.fleet, control=control)

    def list(self, *engines: str) -> None:
        """Replace the list of engines."""
        self.fleet.set_engines("test", [info(f"e{number}", url=url) for number, url in enumerate(engines)])

    async def __aenter__(self) -> Self:
        await self.server.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.server.stop()

    @property
    def url(self) -> str:
        return self.server.url

    @property
    def engines(self) -> dict[str, Engine]:
        """The engines by id."""
        return {engine.info.id: engine for engine in self.fleet.engines()}

    @property
    def waiting(self) -> int:
        return sum(self.server.queues.depth().values())

    @property
    def in_flight(self) -> int:
        return sum(engine.in_flight for engine in self.fleet.watched())

    async def until(self, condition: Callable[[], bool], timeout: float = 30.0) -> None:
        """Wait until `condition()` holds."""
        async with asyncio.timeout(timeout):
            while not condition():  # noqa: ASYNC110 - the edge's parts have no event for a test
                await asyncio.sleep(POLL_SECONDS)

    def sample(self, name: str, **labels: str) -> float:
        """Return the value of a metric series as a scrape would show it, 0 if it does not exist yet."""
        return self.server.metrics.value(name, **labels)
