"""All engines of one edge: lists of replicas in, engines with room out.

Serve's controller knows which replicas exist; its list is up to a few seconds old. The edge knows first when an engine
is dead, as its connections break. So an engine takes requests only if both agree:

    listed ──▶ takes requests ◀── a probe succeeds ── ejected     connection refused or reset, no progress, bad /health
      │                                                 ▲
      └── delisted: no new requests; it leaves with its last slot

Ejection is this edge's own and lasts until the list drops the engine or a probe succeeds. A list can still hold a dead
replica whose port a new one has taken: of two engines with one URL, the newer one counts.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Literal

from llm_proxy.upstream.breaker import Breaker, BreakerSettings, BreakerState
from llm_proxy.upstream.signals import Signals
from llm_router.fleet.engine import Engine, EngineInfo, Slot
from llm_router.settings import ModelSettings

Cause = Literal["connect", "reset", "progress", "health"]
"""Why an engine was ejected: no connection, a connection that broke, no progress, failed probes."""

EJECTED = "ejected"
"""Reason given to the requests that are pulled back from a wedged engine."""

log = logging.getLogger(__name__)


class FleetListener:
    """The events of a fleet. A listener overrides those that it needs; none may raise."""

    def room(self, model: str) -> None:
        """React to an engine of the model that can take requests, or to a change of the model's settings."""

    def ejected(self, engine: Engine, cause: Cause) -> None:
        """React to an engine that takes no requests for now. Its cache is taken for lost."""

    def delisted(self, engine: Engine) -> None:
        """React to an engine that gets no more requests."""

    def gone(self, engine: Engine) -> None:
        """React to an engine that is delisted and holds no requests."""

    def released(self, slot: Slot) -> None:
        """React to a slot that was given back, before `room`."""


class Fleet:
    """The engines by model. Not thread-safe: use it in one event loop. `clock` is monotonic, in seconds."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic, breaker: BreakerSettings | None = None) -> None:
        self._clock = clock
        self._breaker = breaker or BreakerSettings()
        self.models: dict[str, ModelSettings] = {}
        self._sources: dict[str, dict[str, Engine]] = {}
        """Engines by source, then by id."""
        self._by_model: dict[str, list[Engine]] = {}
        self._leaving: dict[str, Engine] = {}
        """Delisted engines by id that still hold requests."""
        self._superseded: dict[str, str] = {}
        """Id -> source of each listed engine whose URL now belongs to a newer one."""
        self._listeners: list[FleetListener] = []

    def subscribe(self, listener: FleetListener) -> None:
        self._listeners.append(listener)

    # --- the lists ---------------------------------------------------------------------------------------------------

    def set_models(self, models: Sequence[ModelSettings]) -> None:
        """Replace the models. Engines of a model that is not listed stay, without requests."""
        changed = {model.name: model for model in models}
        before, self.models = self.models, changed
        for name in before.keys() | changed.keys():
            if before.get(name) != changed.get(name):
                for engine in self.engines(name):
                    engine.max_running = self._max_running(name)
                self._room(name)

    def set_engines(self, source: str, infos: Sequence[EngineInfo]) -> None:
        """Replace the engines of one source, such as a Serve application. An empty list drops the source."""
        before = self._sources.get(source, {})
        listed = {info.id: info for info in infos}
        for name in [one for one, its in self._superseded.items() if its == source and one not in listed]:
            del self._superseded[name]
        for engine in [one for name, one in before.items() if name not in listed]:
            self._delist(source, engine)
        joined = [info for name, info in listed.items() if name not in before and name not in self._superseded]
        for info in joined:
            self._supersede(info)
            self._join(source, info)
        for model in {info.model for info in joined}:
            self._room(model)

    def engines(self, model: str | None = None) -> list[Engine]:
        """Return the listed engines, of one model if given."""
        if model is not None:
            return self._by_model.get(model, [])
        return [engine for engines in self._by_model.values() for engine in engines]

    def watched(self) -> list[Engine]:
        """Return all engines, those included that only finish their last requests."""
        return [*self.engines(), *self._leaving.values()]

    def _join(self, source: str, info: EngineInfo) -> None:
        engine = self._leaving.pop(info.id, None)  # a list that was short of it for a moment
        if engine is None or engine.info != info:
            breaker = Breaker(self._breaker, self._clock)
            engine = Engine(info, max_running=self._max_running(info.model), breaker=breaker)
        engine.max_running = self._max_running(info.model)
        self._sources.setdefault(source, {})[info.id] = engine
        self._by_model.setdefault(info.model, []).append(engine)
        log.info("engine %s serves %s, version %s", engine.shown, info.model, info.version)

    def _supersede(self, info: EngineInfo) -> None:
        """Delist the older engine at the URL of a new one."""
        for source, engines in list(self._sources.items()):
            for engine in [one for one in engines.values() if one.info.url == info.url and one.info.id != info.id]:
                self._superseded[engine.info.id] = source
                self._delist(source, engine)

    def _delist(self, source: str, engine: Engine) -> None:
        engines = self._sources[source]
        del engines[engine.info.id]
        if not engines:
            del self._sources[source]
        self._by_model[engine.info.model].remove(engine)
        if not self._by_model[engine.info.model]:
            del self._by_model[engine.info.model]
        self._leaving[engine.info.id] = engine
        log.info("engine %s is delisted, %d requests in flight", engine.shown, engine.in_flight)
        for listener in self._listeners:
            listener.delisted(engine)
        self._leave(engine)

    def _leave(self, engine: Engine) -> None:
        if not engine.in_flight and self._leaving.get(engine.info.id) is engine:
            del self._leaving[engine.info.id]
            for listener in self._listeners:
                listener.gone(engine)

    def _max_running(self, model: str) -> int:
        settings = self.models.get(model)
        return settings.max_running if settings is not None else 0

    # --- slots -------------------------------------------------------------------------------------------------------

    def candidates(self, model: str, tried: Collection[str] = ()) -> list[Engine]:
        """Return the engines of the model that take a request now.

        Leave out those in `tried`, by id, while another engine of the model is up, even if it has no room now.
        """
        engines = self._by_model.get(model, ())
        if tried and any(engine.is_up for engine in engines if engine.info.id not in tried):
            return [engine for engine in engines if engine.has_room and engine.info.id not in tried]
        return [engine for engine in engines if engine.has_room]

    def up(self, model: str, without: Collection[str] = ()) -> list[Engine]:
        """Return the engines of the model that take requests, now or when a slot becomes free."""
        return [one for one in self._by_model.get(model, ()) if one.is_up and one.info.id not in without]

    def take(self, engine: Engine, prompt_tokens: int = 0) -> Slot:
        """Take a slot of one of the candidates."""
        now = self._clock()
        if not engine.held:
            engine.progressed(now)
        slot = Slot(engine, since=now, on_release=self._released)
        engine.held.add(slot)
        engine.unseen_requests += 1
        engine.unseen_tokens += prompt_tokens
        return slot

    def _released(self, slot: Slot) -> None:
        engine = slot.engine
        engine.held.discard(slot)
        engine.streams -= slot.streams
        if slot.probe:
            engine.breaker.end_probe(slot.probe)
        for listener in self._listeners:
            listener.released(slot)
        if self._leaving:
            self._leave(engine)
        self._room(engine.info.model)

    # --- health ------------------------------------------------------------------------------------------------------

    def eject(self, engine: Engine, cause: Cause, reason: str) -> None:
        """Stop sending requests to the engine until a probe succeeds. A wedged engine's requests are pulled back."""
        engine.wedged = engine.wedged or cause == "progress"
        if not engine.ejected or cause == "progress":
            engine.reason = reason  # the first reason tells more than the probes that fail after it
        if not engine.ejected:
            engine.ejected = True
            log.warning("engine %s is ejected: %s", engine.shown, reason)
            for listener in self._listeners:
                listener.ejected(engine, cause)
        if cause == "progress":
            for slot in list(engine.held):
                slot.interruptible.interrupt(EJECTED)

    def restore(self, engine: Engine) -> None:
        """Record a good probe: an ejected engine takes requests again."""
        engine.failed_probes = 0
        if engine.ejected:
            engine.ejected = engine.wedged = False
            engine.breaker.half_open()
            engine.progressed(self._clock())
            log.warning("engine %s is back", engine.shown)
            self._room(engine.info.model)
        elif engine.breaker.state is BreakerState.HALF_OPEN:
            self._room(engine.info.model)

    def succeeded(self, engine: Engine) -> None:
        """Record a request that the engine has served."""
        if engine.breaker.succeeded():
            self._room(engine.info.model)

    def overloaded(self, engine: Engine) -> None:
        """Record a 429 or 503: the engine works, but rests until the next scrape if another one is up."""
        engine.resting = bool(self.up(engine.info.model, (engine.info.id,)))

    def observe(self, engine: Engine, signals: Signals | None, own: int) -> None:
        """Record a scrape, None if it failed. `own` is the number of this edge's requests when it began."""
        engine.observe(signals, own)
        if engine.resting:
            engine.resting = False
            self._room(engine.info.model)

    def failed(self, engine: Engine) -> None:
        """Record a request that the engine has failed: the connection broke, or the answer was a 5xx."""
        if engine.breaker.failed():
            log.warning("engine %s fails its requests: circuit breaker opened", engine.shown)

    def why_down(self, engines: Iterable[Engine]) -> str:
        """Return the reason of each engine that takes no requests, in one line; empty without any."""
        down = [engine for engine in engines if not engine.is_up]
        return "; ".join(f"{one.shown}: {one.reason if one.ejected else 'circuit breaker open'}" for one in down)

    def _room(self, model: str) -> None:
        for listener in self._listeners:
            listener.room(model)
