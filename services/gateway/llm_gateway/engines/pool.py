"""All engines together: permits for their slots, and engines that are added, removed, fail and recover.

Invariants: an engine's `in_flight` is the number of its permits, and `budget.used` is the sum of their costs.
`on_change` is emitted whenever a waiting request may have become servable or has lost its last engine.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager

from llm_gateway.engines.balance import BalancingName, LeastLoaded, make_balancer
from llm_gateway.engines.budget import KvBudget
from llm_gateway.engines.engine import Engine, ModelCard
from llm_gateway.engines.limits import AdaptiveLimit, LimitSettings
from llm_gateway.engines.permit import Permit
from llm_gateway.engines.routes import Route, Routes
from llm_gateway.engines.settings import EngineSettings
from llm_gateway.listeners import Listeners
from llm_gateway.waiting import Waiting
from llm_proxy.upstream.addresses import default_name
from llm_proxy.upstream.breaker import Breaker, BreakerSettings, BreakerState
from llm_proxy.upstream.service_rate import ServiceRate
from llm_proxy.upstream.signals import Signals

log = logging.getLogger(__name__)


class EnginePool:
    """The engines and the permits for their slots. `clock` is monotonic, in seconds.

    `on_added` is called with the name of a new engine, `on_removed` once its last permit is back after its removal.
    """

    def __init__(
        self,
        engines: Sequence[EngineSettings],
        *,
        limit: LimitSettings | None = None,
        kv_kappa: float = 1.0,
        breaker: BreakerSettings | None = None,
        balancing: BalancingName = "prefix",
        anonymous: bool = False,
        clock: Callable[[], float] = time.monotonic,
        source: random.Random | None = None,
        on_added: Callable[[str], None] = lambda name: None,
        on_removed: Callable[[str], None] = lambda name: None,
    ) -> None:
        self._limit = limit or LimitSettings()
        self._kv_kappa = kv_kappa
        self._breaker = breaker or BreakerSettings()
        self._balancing = balancing
        self._balancer = make_balancer(balancing, source or random.Random())
        self._least_loaded = LeastLoaded()
        self._clock = clock
        self._sharers = 1
        self._anonymous = anonymous
        self._on_added, self._on_removed = on_added, on_removed
        self._numbers: dict[str, int] = {}
        """Number by engine name, shown to clients in place of the address. An engine that returns keeps its number."""
        self.engines = [self._make(one) for one in engines]
        """Engines that get requests while they are up."""
        self.routes = Routes(self.engines)
        self.draining: dict[Engine, asyncio.Future[None]] = {}
        """Removed engines that still hold requests."""
        self._held: Counter[str] = Counter()
        """Number of permits by class."""
        self.rate = ServiceRate(self.scarcest_slots)
        self.on_change: Listeners[[]] = Listeners()
        self.on_release: Listeners[[Permit]] = Listeners()
        """Emitted with each permit that is given back, before `on_change`."""
        self._paused = False

    def _make(self, settings: EngineSettings) -> Engine:
        limit = AdaptiveLimit(self._limit, settings.max_in_flight) if self._limit.kind == "adaptive" else None
        budget = KvBudget(self._kv_kappa, settings.kv_tokens or 0)
        engine = Engine(settings, limit, budget, Breaker(self._breaker, self._clock))
        engine.sharers = self._sharers
        self._show(engine)
        self._on_added(engine.name)
        return engine

    def anonymise(self, anonymous: bool) -> None:
        """Show clients `engine-1`, … in place of addresses if `anonymous`, else the addresses."""
        self._anonymous = anonymous
        for engine in self.watched():
            self._show(engine)

    def _show(self, engine: Engine) -> None:
        number = self._numbers.setdefault(engine.name, len(self._numbers) + 1)
        is_address = engine.name == default_name(engine.settings.url)
        engine.shown = f"engine-{number}" if self._anonymous and is_address else engine.name

    # --- slots and permits -------------------------------------------------------------------------------------------

    @property
    def wants_prefix(self) -> bool:
        """Whether requests need prefix hashes. They cost time, and with one engine there is no choice to make."""
        return self._balancing == "prefix" and len(self.engines) > 1

    def any_up(self, route: Route | None = None) -> bool:
        """Return whether some engine takes requests, now or when a slot becomes free. Otherwise waiting is futile."""
        return any(engine.available for engine in (self.engines if route is None else route))

    def has_free_slot(self, route: Route | None = None, without: Collection[Engine] = ()) -> bool:
        among = self.engines if route is None else route
        return any(engine.accepts(0) and engine not in without for engine in among)

    def has_room(self, request: Waiting, without: Collection[Engine] = ()) -> bool:
        """Return whether `take` would give the request a permit now."""
        cost = _cost(request)
        return any(engine.accepts(cost) and engine not in without for engine in self.routes.of(request.model))

    def slots(self, route: Route | None = None) -> int:
        """Return the number of slots of the engines that take requests, at their current limits."""
        return sum(engine.max_in_flight for engine in (self.engines if route is None else route) if engine.available)

    def scarcest_slots(self) -> int:
        """Return the number of slots of the route that has the fewest."""
        return min(map(self.slots, self.routes.distinct), default=0)

    def held(self, class_name: str) -> int:
        """Return the number of slots that requests of a class hold."""
        return self._held[class_name]

    def share_among(self, sharers: int) -> None:
        """Divide each engine's limit by the number of gateways that share it without contact; 1 takes all of it."""
        self._sharers = sharers
        for engine in self.watched():
            engine.sharers = sharers

    def take_from(self, name: str, request: Waiting) -> Permit | None:
        """Return a slot of the named engine, None if it has no room."""
        cost = _cost(request)
        engine = next((one for one in self.engines if one.name == name and one.accepts(cost)), None)
        return None if engine is None else self._taken(engine, request, cost)

    def take(self, request: Waiting, without: Collection[Engine] = ()) -> Permit | None:
        """Return a slot of the engine that balancing chooses, None if no engine of the request's route has room.

        Engines in `without` are never chosen. An engine that failed the request before is chosen only if no other is
        left.
        """
        cost = _cost(request)
        able = [engine for engine in self.routes.of(request.model) if engine.accepts(cost) and engine not in without]
        if not able:
            return None
        if request.tried:
            able = [engine for engine in able if engine.name not in request.tried] or able
        return self._taken(self._balancer.choose(able, request), request, cost)

    def _taken(self, engine: Engine, request: Waiting, cost: int) -> Permit:
        now = self._clock()
        if not engine.in_flight:
            engine.progressed(now)
        engine.in_flight += 1
        engine.budget.used += cost
        self._held[request.cls.name] += 1
        engine.holders.add(request)
        return Permit(engine, request, cost=cost, since=now, on_release=self._give_back)

    def choose(self, tried: Collection[str] = (), model: str | None = None) -> Engine | None:
        """Return the least loaded engine that is up, for a request without a slot. Engines in `tried` come last."""
        able = self.able(tried, model)
        able = [engine for engine in able if engine.name not in tried] or able
        return self._least_loaded.choose(able) if able else None

    def able(self, tried: Collection[str] = (), model: str | None = None) -> list[Engine]:
        """Return the engines that are up, those in `tried` last."""
        able = [engine for engine in self.routes.of(model) if engine.available]
        return sorted(able, key=lambda engine: engine.name in tried)

    def _give_back(self, permit: Permit) -> None:
        engine = permit.engine
        engine.in_flight -= 1
        engine.budget.used -= permit.cost
        self._held[permit.request.cls.name] -= 1
        engine.holders.discard(permit.request)
        engine.streams -= permit.streams
        self.rate.held(self._clock() - permit.since)
        if permit.probe:
            engine.breaker.end_probe(permit.probe)
        if not engine.in_flight and engine in self.draining:
            self._gone(engine)
        self.on_release.emit(permit)
        self._changed()

    # --- health ------------------------------------------------------------------------------------------------------

    def answered(self, engine: Engine, status: int) -> None:
        """Record the status of a complete answer. A 4xx says nothing about the engine."""
        if status >= 500:
            self.failed(engine)
        elif status < 400 and engine.breaker.succeeded():
            log.warning("engine %s works again: circuit breaker closed", engine.name)
            self._changed()

    def overloaded(self, engine: Engine, rest: float | None, model: str | None) -> None:
        """Record a 429 or 503; `rest` is its Retry-After in seconds. The engine works, so its breaker counts nothing.

        The engine rests only if another one takes requests for the model: one client's limit must not stop all clients.
        """
        if rest and self.another(model, (engine.name,)):
            engine.rests_until = self._clock() + rest
            log.warning("engine %s is overloaded: no requests for %.0f s", engine.name, rest)

    def another(self, model: str | None, tried: Collection[str]) -> bool:
        """Return whether an engine outside `tried` takes requests for the model, now or when a slot becomes free."""
        return any(one.available and one.rests_until is None for one in self.routes.of(model) if one.name not in tried)

    def failed(self, engine: Engine) -> None:
        """Record a failed request: the connection was refused, broken or silent, or the answer was a 5xx."""
        if engine.breaker.failed():
            log.warning("engine %s fails its requests: circuit breaker opened", engine.name)
            self._changed()

    def observe(self, engine: Engine, signals: Signals | None) -> None:
        """Record a scrape, None if it failed."""
        before = engine.max_in_flight, engine.budget.capacity
        if signals is None:
            engine.lost_signals()
        else:
            engine.observe(signals)
        if before != (engine.max_in_flight, engine.budget.capacity):
            self._changed()

    def mark_up(self, engine: Engine) -> None:
        """Record a good probe. It also ends a rest that is over, up to one probe interval late."""
        engine.failed_probes = 0
        if engine.rests_until is not None and self._clock() >= engine.rests_until:
            engine.rests_until = None
            self._changed()
        if not engine.up and engine in self.engines:
            engine.up, engine.ejected = True, False
            engine.breaker.half_open()
            engine.progressed(self._clock())
            log.warning("engine %s is up", engine.name)
            self._changed()
        elif engine.breaker.state is BreakerState.HALF_OPEN:
            self._changed()

    def mark_down(self, engine: Engine, reason: str) -> None:
        """Stop sending requests to the engine until a probe finds it well."""
        engine.reason = reason
        if engine.up:
            engine.up = False
            engine.prefixes.clear()
            log.warning("engine %s is down: %s", engine.name, reason)
            self._changed()

    def eject(self, engine: Engine, reason: str) -> None:
        """Mark the engine down until it has produced tokens again."""
        engine.ejected = True
        engine.ejections += 1
        self.mark_down(engine, reason)

    def learn_models(self, engine: Engine, cards: Mapping[str, ModelCard] | None) -> None:
        """Record the models that the engine serves, None if it does not say. Configured models take precedence."""
        if engine.settings.models:
            return
        before = engine.models
        engine.cards = dict(cards or {})
        engine.models = None if cards is None else frozenset(cards)
        if engine.models != before and engine in self.engines:
            self._reroute()
            self._changed()

    def _reroute(self) -> None:
        self.routes = Routes(self.engines)

    def why_down(self, route: Route | None = None) -> str:
        """Return the name, as clients see it, and the reason of every engine that takes no requests, in one line."""
        down = [engine for engine in (self.engines if route is None else route) if not engine.available]
        return "; ".join(f"{engine.shown}: {engine.why_unavailable()}" for engine in down) or "no engine is configured"

    # --- engines that are added and removed --------------------------------------------------------------------------

    def add(self, settings: EngineSettings) -> Engine:
        """Add an engine, which takes requests once a probe finds it up. Raise ValueError if the name is in use.

        The name of an engine that drains is free.
        """
        if any(engine.name == settings.name for engine in self.engines):
            raise ValueError(f"an engine named {settings.name} exists already")
        engine = self._make(settings)
        self.engines.append(engine)
        self._reroute()
        return engine

    def remove(self, name: str) -> asyncio.Future[None]:
        """Stop sending requests to the engine. The returned future completes when its last permit is back.

        Raise KeyError if there is no engine of that name.
        """
        engine = next((engine for engine in self.engines if engine.name == name), None)
        if engine is None:
            raise KeyError(name)
        self.engines.remove(engine)
        self._reroute()
        drained = self.draining[engine] = asyncio.get_running_loop().create_future()
        if not engine.in_flight:
            self._gone(engine)
        self.mark_down(engine, "removed")
        return drained

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Hold back `on_change` inside the block and emit it once at the end. Blocks do not nest."""
        self._paused = True
        try:
            yield
        finally:
            self._paused = False
            self._changed()

    def _changed(self) -> None:
        if not self._paused:
            self.on_change.emit()

    def watched(self) -> list[Engine]:
        """Return all engines, those that drain included: a hanging engine must not block its own removal."""
        return [*self.engines, *self.draining]

    def _gone(self, engine: Engine) -> None:
        drained = self.draining.pop(engine)
        if not drained.done():
            drained.set_result(None)
        if all(engine.name != other.name for other in (*self.engines, *self.draining)):
            self._on_removed(engine.name)


def _cost(request: Waiting) -> int:
    return request.prompt_tokens + request.output_tokens
