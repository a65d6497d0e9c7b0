"""Health by progress: an engine that holds requests and produces nothing is ejected, whatever its /health says.

Progress is any byte of an answer, any increase of the engine's token counters, and the first request after an idle
period. An engine is judged only if progress would be visible: it reports signals, is streaming an answer, or has
stopped answering probes. (While an engine without metrics computes a long answer that is not streamed, nothing shows
whether it works.)

An ejected engine returns when /health answers and it has produced a token: its counter moved, or a small test
completion succeeded.
"""

from __future__ import annotations

from collections.abc import Callable

from llm_gateway.engines import Engine, EnginePool
from llm_gateway.engines.engine import FAILURES_TO_DOWN
from llm_proxy.watch.loop import EngineLoop

CHECKS_PER_TIMEOUT = 10
"""An ejection is late by at most one check, this fraction of the timeout."""
MAX_CHECK_INTERVAL = 1.0


class ProgressWatch:
    """The watch over all engines. `on_eject` is called once an engine is marked down, its requests still unfinished."""

    def __init__(
        self, pool: EnginePool, timeout: float, clock: Callable[[], float], *, on_eject: Callable[[Engine], None]
    ) -> None:
        self._pool = pool
        self._timeout = timeout
        self._clock = clock
        self._loop = EngineLoop(pool.watched, self._check, min(MAX_CHECK_INTERVAL, timeout / CHECKS_PER_TIMEOUT))
        self._on_eject = on_eject

    async def start(self) -> None:
        """Start the checks, unless the timeout is 0."""
        if self._timeout:
            await self._loop.start()

    async def stop(self) -> None:
        await self._loop.stop()

    async def _check(self, engine: Engine) -> None:
        self.check(engine)

    def check(self, engine: Engine) -> None:
        """Eject the engine if it has made no progress for longer than the timeout."""
        silent = self._clock() - engine.last_progress
        if engine.in_flight and silent > self._timeout and not engine.ejected and _can_be_judged(engine):
            self._pool.eject(engine, f"no progress for {silent:.0f} s")
            self._on_eject(engine)


def _can_be_judged(engine: Engine) -> bool:
    return engine.signals is not None or engine.streams > 0 or engine.failed_probes >= FAILURES_TO_DOWN
