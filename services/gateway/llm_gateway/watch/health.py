"""Probes of /health: they mark an engine down that refuses or keeps failing, and bring it back when it answers.

A probe that finds an engine well also reads which models it serves.

A refused connection marks an engine down at once, here or on a request's path; a slow or failing answer only after
three in a row, since an engine at full load may be late. An engine that was ejected for making no progress has to show
that it produces tokens, too.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from llm_gateway.engines import Engine, EnginePool
from llm_gateway.engines.engine import FAILURES_TO_DOWN
from llm_gateway.engines.models import model_cards
from llm_gateway.upstream.client import EngineError, Upstream
from llm_gateway.watch.loop import EngineLoop
from llm_gateway.watch.progress import produces_tokens

MODELS_SECONDS = 5.0


class HealthProbes:
    def __init__(
        self,
        pool: EnginePool,
        upstream: Upstream,
        interval: float,
        timeout: float,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pool = pool
        self._upstream = upstream
        self._timeout = timeout
        self._clock = clock
        self._loop = EngineLoop(pool, self.probe, interval)

    async def start(self) -> None:
        await self._loop.start()

    async def stop(self) -> None:
        await self._loop.stop()

    async def probe(self, engine: Engine) -> None:
        """One probe; marks the engine up or down by what it finds."""
        try:
            status = await self._upstream.health(engine, self._timeout)
        except EngineError as error:
            self._failed(engine, f"/health: {error.reason}", at_once=error.phase == "connect")
            return
        if status != 200:
            self._failed(engine, f"/health answered {status}")
            return
        await self._learn_models(engine)
        if not engine.ejected or await produces_tokens(self._upstream, engine, self._clock):
            self._pool.mark_up(engine)

    async def _learn_models(self, engine: Engine) -> None:
        """Before it takes requests, and from then on every MODELS_SECONDS: adapters are loaded while it runs."""
        now = self._clock()
        if engine.settings.models or (engine.up and now - engine.models_read < MODELS_SECONDS):
            return
        try:
            status, page = await self._upstream.fetch(engine, "GET", "/v1/models", self._timeout)
        except EngineError:
            return  # what is known stays, and the next probe asks again
        engine.models_read = now
        self._pool.learn_models(engine, model_cards(page) if status == 200 else None)

    def _failed(self, engine: Engine, reason: str, *, at_once: bool = False) -> None:
        engine.failed_probes += 1
        if at_once or not engine.up or engine.failed_probes >= FAILURES_TO_DOWN:
            self._pool.mark_down(engine, reason)
