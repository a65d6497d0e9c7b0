"""The watch over the engines: their signals, their health and their progress.

scrape     /metrics, every `signals_interval`: load, KV usage, token counters. A refused connection ejects at once. So
           the death of an idle engine is noticed within one interval.
probe      /health, every `probe_interval`: FAILURES_TO_EJECT bad answers in a row eject, a good one brings an ejected
           engine back. A wedged engine must also produce a token.
progress   An engine that holds requests and produces nothing for the model's `progress_timeout` is ejected, whatever
           its /health says, and its requests move to other engines. Progress is any byte of an answer, any increase of
           the token counters, and the first request after an idle period. An engine is judged only if progress would be
           visible: it has reported signals, is streaming, or has stopped answering probes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from pydantic import BaseModel, ConfigDict, Field

from llm_proxy.upstream.client import EngineError, Upstream
from llm_proxy.upstream.signals import parse
from llm_proxy.watch.loop import EngineLoop
from llm_proxy.watch.questions import produces_tokens
from llm_router.fleet.engine import Engine
from llm_router.fleet.fleet import Cause, Fleet, FleetListener

FAILURES_TO_EJECT = 3
"""Failed probes in a row. An engine at full load can be late."""
PROGRESS_CHECK_SECONDS = 0.25
"""An engine without progress is ejected late by at most this much."""


class WatchSettings(BaseModel):
    """How often engines are asked, in seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    signals_interval: float = Field(0.3, gt=0, description="seconds between two scrapes of an engine's /metrics")
    signals_timeout: float = Field(1.0, gt=0, description="seconds after which a scrape has failed")
    probe_interval: float = Field(0.5, gt=0, description="seconds between two probes of an engine's /health")
    probe_timeout: float = Field(2.0, gt=0, description="seconds after which a probe has failed")


class FleetWatch(FleetListener):
    """Watches all engines of a fleet. `clock` is monotonic, in seconds, and the fleet's."""

    def __init__(
        self, fleet: Fleet, upstream: Upstream, settings: WatchSettings, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._fleet = fleet
        self._upstream = upstream
        self._settings = settings
        self._clock = clock
        self._loops = (
            EngineLoop(fleet.watched, self.probe, settings.probe_interval),
            EngineLoop(fleet.watched, self.scrape, settings.signals_interval),
            EngineLoop(fleet.watched, self._check, PROGRESS_CHECK_SECONDS),
        )
        self._probing: set[asyncio.Task[None]] = set()
        fleet.subscribe(self)

    async def start(self) -> None:
        for loop in self._loops:
            await loop.start()

    async def stop(self) -> None:
        for loop in self._loops:
            await loop.stop()
        for task in self._probing:
            task.cancel()
        await asyncio.gather(*self._probing, return_exceptions=True)

    def ejected(self, engine: Engine, cause: Cause) -> None:
        """Probe an engine that has reset a connection at once: if it lives, it misses a few milliseconds only."""
        if cause == "reset":
            task = asyncio.create_task(self.probe(engine))
            self._probing.add(task)
            task.add_done_callback(self._probing.discard)

    async def scrape(self, engine: Engine) -> None:
        """Read the engine's signals once."""
        own, signals = engine.in_flight, None
        try:
            status, page = await self._upstream.fetch(engine, "GET", "/metrics", self._settings.signals_timeout)
            signals = parse(page, self._clock()) if status == 200 else None
        except EngineError as error:
            if error.refused:
                self._fleet.eject(engine, "connect", error.reason)
        self._fleet.observe(engine, signals, own)

    async def probe(self, engine: Engine) -> None:
        """Ask the engine for its health once, and eject or restore it."""
        try:
            status = await self._upstream.health(engine, self._settings.probe_timeout)
        except EngineError as error:
            if error.refused:
                self._fleet.eject(engine, "connect", error.reason)
            self._bad(engine, error.reason)
            return
        if status != 200:
            self._bad(engine, f"/health answered {status}")
        elif not engine.wedged or await produces_tokens(self._upstream, engine, engine.signals, self._clock):
            self._fleet.restore(engine)

    def _bad(self, engine: Engine, reason: str) -> None:
        engine.failed_probes += 1
        if engine.failed_probes >= FAILURES_TO_EJECT:
            self._fleet.eject(engine, "health", f"{engine.failed_probes} probes failed: {reason}")

    async def _check(self, engine: Engine) -> None:
        self.check(engine)

    def check(self, engine: Engine) -> None:
        """Eject the engine if it has made no progress for longer than its model's timeout."""
        settings = self._fleet.models.get(engine.info.model)
        if settings is None or not settings.progress_timeout or not engine.held or engine.wedged:
            return
        silent = self._clock() - engine.last_progress
        visible = engine.reports or engine.streams > 0 or engine.failed_probes >= FAILURES_TO_EJECT
        if silent > settings.progress_timeout and visible:
            self._fleet.eject(engine, "progress", f"no progress for {silent:.0f} s")
