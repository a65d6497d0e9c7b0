"""Probes of /health. They mark an engine down when it refuses or keeps failing, and up again when it answers.

A good probe also reads the models that the engine serves.

A refused connection marks an engine down at once, in a probe or a request. A probe whose connection or answer is slow,
or whose answer is an error, does so only after two more in a row: an engine at full load can be late. An engine that
was ejected for lack of progress must also produce a token.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from llm_gateway.engines import Engine, EnginePool
from llm_gateway.engines.engine import FAILURES_TO_DOWN
from llm_gateway.engines.models import model_cards
from llm_proxy.upstream.client import EngineError, Upstream
from llm_proxy.watch.loop import EngineLoop
from llm_proxy.watch.questions import produces_tokens

MODELS_SECONDS = 5.0
"""Time between two reads of an engine's models."""


class HealthProbes:
    """Probes each engine every `interval` seconds. `clock` is monotonic, in seconds."""

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
        self._loop = EngineLoop(pool.watched, self.probe, interval)

    async def start(self) -> None:
        await self._loop.start()

    async def stop(self) -> None:
        await self._loop.stop()

    async def probe(self, engine: Engine) -> None:
        """Probe the engine once and mark it up or down."""
        try:
            status = await self._upstream.health(engine, self._timeout)
        except EngineError as error:
            self._failed(engine, f"/health: {error.reason}", at_once=error.refused)
            return
        if status != 200:
            self._failed(engine, f"/health answered {status}")
            return
        await self._learn_models(engine)
        if not engine.ejected or await produces_tokens(self._upstream, engine, engine.signals, self._clock):
            self._pool.mark_up(engine)

    async def _learn_models(self, engine: Engine) -> None:
        """Read the models before the engine takes requests, then every MODELS_SECONDS, as it can load adapters."""
        now = self._clock()
        if engine.settings.models or (engine.up and now - engine.models_read < MODELS_SECONDS):
            return
        try:
            status, page = await self._upstream.fetch(engine, "GET", "/v1/models", self._timeout)
        except EngineError:
            return  # keep the known models; the next probe reads again
        engine.models_read = now
        self._pool.learn_models(engine, model_cards(page) if status == 200 else None)

    def _failed(self, engine: Engine, reason: str, *, at_once: bool = False) -> None:
        engine.failed_probes += 1
        if at_once or not engine.up or engine.failed_probes >= FAILURES_TO_DOWN:
            self._pool.mark_down(engine, reason)
