"""A gateway inside the test's own event loop, on a free port.

async with ScriptedEngine() as engine, RunningGateway(engine.url) as gateway:
    async with aiohttp.ClientSession() as client: … gateway.url …
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, Self

from aiohttp import web

from llm_gateway.app import Gateway
from llm_gateway.edge import EdgeRunner
from llm_gateway.settings import GatewaySettings

POLL_SECONDS = 0.002


class RunningGateway:
    def __init__(self, *engines: str | dict[str, Any], clock: Callable[[], float] = time.monotonic, **settings: Any):
        self._settings = {"port": 0, "probe_interval": 0.02, **settings, "engines": list(engines)}
        self._clock = clock

    async def __aenter__(self) -> Self:
        self.parts = Gateway(GatewaySettings(**self._settings), self._clock)
        self._runner = EdgeRunner(self.parts.app(), self.parts.settings.edge, shutdown_timeout=0.01)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    @property
    def waiting(self) -> int:
        return len(self.parts.queue)

    @property
    def in_flight(self) -> int:
        return sum(engine.in_flight for engine in self.parts.pool.engines)

    async def until(self, condition: Callable[[Self], bool], timeout: float = 10.0) -> None:
        """Returns once `condition(self)` holds."""
        async with asyncio.timeout(timeout):
            while not condition(self):  # noqa: ASYNC110 - the gateway's parts have no event for a test
                await asyncio.sleep(POLL_SECONDS)

    def sample(self, name: str, **labels: str) -> float:
        """The value of one metric series as a scrape would show it; 0 if there is none yet."""
        return self.parts.metrics.value(name, labels)
