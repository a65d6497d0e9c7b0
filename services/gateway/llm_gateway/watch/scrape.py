"""Scrapes of every engine's /metrics, once per `signals_interval`. An engine without metrics has no signals."""

from __future__ import annotations

from collections.abc import Callable

from llm_gateway.engines import Engine, EnginePool
from llm_proxy.upstream.client import Upstream
from llm_proxy.watch.loop import EngineLoop
from llm_proxy.watch.questions import read_signals

PATIENCE = 2.0
"""Intervals that a scrape can take. After that it has failed, and the last signals are stale."""


class SignalScraper:
    """Scrapes each engine every `interval` seconds. `clock` is monotonic, in seconds."""

    def __init__(self, pool: EnginePool, upstream: Upstream, interval: float, clock: Callable[[], float]) -> None:
        self._pool = pool
        self._upstream = upstream
        self._timeout = PATIENCE * interval
        self._clock = clock
        self._loop = EngineLoop(pool.watched, self.scrape, interval)

    async def start(self) -> None:
        await self._loop.start()

    async def stop(self) -> None:
        await self._loop.stop()

    async def scrape(self, engine: Engine) -> None:
        self._pool.observe(engine, await read_signals(self._upstream, engine, self._timeout, self._clock))
