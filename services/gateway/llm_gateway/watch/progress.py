"""Health by progress: an engine that has requests of ours and produces nothing is ejected, whatever its /health says.

Progress is any byte of an answer, any movement of the engine's own token counters, and a first request after none. An
engine is judged only where progress could be seen: it has signals, or streams to us, or has stopped to answer probes.
(A long answer that is not streamed, from an engine without metrics, looks the same dead or alive.)

It comes back when /health answers and it has shown that it makes tokens: its counter moved, or one small completion.
"""

from __future__ import annotations

from collections.abc import Callable

import orjson

from llm_gateway.engines import Engine, EnginePool
from llm_gateway.engines.engine import FAILURES_TO_DOWN
from llm_gateway.upstream.client import EngineError, Upstream
from llm_gateway.watch.loop import EngineLoop
from llm_gateway.watch.scrape import read_signals

CHECKS_PER_TIMEOUT = 10
"""An ejection is late by at most this part of the timeout."""
MAX_CHECK_INTERVAL = 1.0
CANARY_TIMEOUT = 10.0
"""Seconds for one token, from an engine that has nothing else of ours to do."""


class ProgressWatch:
    """The watch over all engines. `on_eject` is called once an engine is marked down, its requests still unfinished."""

    def __init__(
        self, pool: EnginePool, timeout: float, clock: Callable[[], float], *, on_eject: Callable[[Engine], None]
    ) -> None:
        self._pool = pool
        self._timeout = timeout
        self._clock = clock
        self._loop = EngineLoop(pool, self._check, min(MAX_CHECK_INTERVAL, timeout / CHECKS_PER_TIMEOUT))
        self._on_eject = on_eject

    async def start(self) -> None:
        """A timeout of 0 turns the watch off."""
        if self._timeout:
            await self._loop.start()

    async def stop(self) -> None:
        await self._loop.stop()

    async def _check(self, engine: Engine) -> None:
        self.check(engine)

    def check(self, engine: Engine) -> None:
        """Ejects the engine if it has been without progress for longer than the timeout."""
        silent = self._clock() - engine.last_progress
        if engine.in_flight and silent > self._timeout and not engine.ejected and _can_be_judged(engine):
            self._pool.eject(engine, f"no progress for {silent:.0f} s")
            self._on_eject(engine)


def _can_be_judged(engine: Engine) -> bool:
    return engine.signals is not None or engine.streams > 0 or engine.failed_probes >= FAILURES_TO_DOWN


async def produces_tokens(upstream: Upstream, engine: Engine, clock: Callable[[], float]) -> bool:
    """Whether an ejected engine works again: its counters moved since it was last scraped, or it makes one token."""
    before = engine.signals
    after = await read_signals(upstream, engine, CANARY_TIMEOUT, clock)
    if before is not None and after is not None and after.generation_tokens > before.generation_tokens:
        return True
    return await _canary(upstream, engine)


async def _canary(upstream: Upstream, engine: Engine) -> bool:
    try:
        _, models = await upstream.fetch(engine, "GET", "/v1/models", CANARY_TIMEOUT)
        body = {"model": orjson.loads(models)["data"][0]["id"], "prompt": "1", "max_tokens": 1}
        status, _ = await upstream.fetch(engine, "POST", "/v1/completions", CANARY_TIMEOUT, body=orjson.dumps(body))
    except (EngineError, ValueError, LookupError, TypeError):
        return False
    return status == 200
