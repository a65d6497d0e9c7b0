"""Scrapes of every engine's /metrics, once per `signals_interval`. An engine without metrics has no signals."""

from __future__ import annotations

from collections.abc import Callable

from llm_gateway.engines import Engine, EnginePool
from llm_gateway.watch.loop import EngineLoop
from llm_proxy.upstream.client import EngineError, Upstream
from llm_proxy.upstream.signals import Signals, parse

PATIENCE = 2.0
"""Intervals that a scrape can take. After that it has failed, and the last signals are stale."""


class SignalScraper:
    """Scrapes each engine every `interval` seconds. `clock` is monotonic, in seconds."""

    def __init__(self, pool: EnginePool, upstream: Upstream, interval: float, clock: Callable[[], float]) -> None:
        self._pool = pool
        self._upstream = upstream
        self._timeout = PATIENCE * interval
        self._clock = clock
        self._loop = EngineLoop(pool, self.scrape, interval)

    async def start(self) -> None:
        await self._loop.start()

    async def stop(self) -> None:
        await self._loop.stop()

    async def scrape(self, engine: Engine) -> None:
        self._pool.observe(engine, await read_signals(self._upstream, engine, self._timeout, self._clock))


async def read_signals(
    upstream: Upstream, engine: Engine, timeout: float, clock: Callable[[], float]
) -> Signals | None:
    """Return the engine's signals, None if it does not answer in time or does not answer with metrics."""
    try:
        status, page = await upstream.fetch(engine, "GET", "/metrics", timeout)
    except EngineError:
        return None
    return parse(page, clock()) if status == 200 else None
