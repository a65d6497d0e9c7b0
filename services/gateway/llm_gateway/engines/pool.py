"""The engines together: permits for their slots, and engines that come, go, fail and return.

Invariants: an engine's `in_flight` is its permits out, its `budget.used` the sum of their costs. `on_change` is called
whenever somebody who waits may have become able to go, or has lost the last engine to wait for.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence

from llm_gateway.engines.addresses import default_name
from llm_gateway.engines.balance import BalancingName, LeastLoaded, make_balancer
from llm_gateway.engines.breaker import Breaker, BreakerSettings, BreakerState
from llm_gateway.engines.budget import KvBudget
from llm_gateway.engines.engine import Engine, ModelCard
from llm_gateway.engines.limits import AdaptiveLimit, LimitSettings
from llm_gateway.engines.permit import Permit
from llm_gateway.engines.routes import Route, Routes
from llm_gateway.engines.settings import EngineSettings
from llm_gateway.engines.signals import Signals
from llm_gateway.scheduling.service_rate import ServiceRate
from llm_gateway.scheduling.waiting import Waiting

log = logging.getLogger(__name__)


class EnginePool:
    """`clock` is monotonic and in seconds."""

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
        self._numbers: dict[str, int] = {}
        """Stands for the address in what clients see, by the engine's name; kept for one that comes back."""
        self.engines = [self._make(one) for one in engines]
        """Those that may get requests, if they are up."""
        self.routes = Routes(self.engines)
        self.draining: dict[Engine, asyncio.Future[None]] = {}
        """Those removed that still have permits out."""
        self._held: Counter[str] = Counter()
        """Permits out, by class."""
        self.rate = ServiceRate(self.scarcest_slots)
        self.on_change: Callable[[], None] = lambda: None
        self.on_release: Callable[[Permit], None] = lambda permit: None
        """Called with a permit that was given back, before `on_change`."""
        self.on_removed: Callable[[str], None] = lambda name: None
        """Called with the name of an engine that is gone, its last permit returned."""

    def _make(self, settings: EngineSettings) -> Engine:
        limit = AdaptiveLimit(self._limit, settings.max_in_flight) if self._limit.kind == "adaptive" else None
        budget = KvBudget(self._kv_kappa, settings.kv_tokens or 0)
        engine = Engine(settings, limit, budget, Breaker(self._breaker, self._clock))
        engine.sharers = self._sharers
        self._show(engine)
        return engine

    def anonymise(self, anonymous: bool) -> None:
        """From now on clients see `engine-1`, … in place of addresses, or the addresses if not `anonymous`."""
        self._anonymous = anonymous
        for engine in self.watched():
            self._show(engine)

    def _show(self, engine: Engine) -> None:
        number = self._numbers.setdefault(engine.name, len(self._numbers) + 1)
        is_address = engine.name == default_name(engine.settings.url)
        engine.shown = f"engine-{number}" if self._anonymous and is_address else engine.name

    # --- who may go -----------------------------------------------------------------------------------------------

    @property
    def wants_prefix(self) -> bool:
        """Whether requests need their prefix hashes: they cost time, and one engine needs no choice."""
        return self._balancing == "prefix" and len(self.engines) > 1

    def any_up(self, route: Route | None = None) -> bool:
        """Whether waiting makes sense: some engine takes requests, now or once a slot is free."""
        return any(engine.available for engine in (self.engines if route is None else route))

    def has_free_slot(self, route: Route | None = None, without: Collection[Engine] = ()) -> bool:
        among = self.engines if route is None else route
        return any(engine.accepts(0) and engine not in without for engine in among)

    def has_room(self, request: Waiting, without: Collection[Engine] = ()) -> bool:
        """Whether `take` would give it a permit now."""
        cost = _cost(request)
        return any(engine.accepts(cost) and engine not in without for engine in self.routes.of(request.model))

    def slots(self, route: Route | None = None) -> int:
        """Return the slots of the engines that take requests, at their present limits."""
        return sum(engine.max_in_flight for engine in (self.engines if route is None else route) if engine.available)

    def scarcest_slots(self) -> int:
        """Those of the route that has the fewest."""
        return min(map(self.slots, self.routes.distinct), default=0)

    def held(self, class_name: str) -> int:
        """Slots that requests of the class have."""
        return self._held[class_name]

    def share_among(self, sharers: int) -> None:
        """Divide each engine's limit among that many gateways, which cannot ask each other; 1 takes all of it."""
        self._sharers = sharers
        for engine in self.watched():
            engine.sharers = sharers

    def take_from(self, name: str, request: Waiting) -> Permit | None:
        """A slot of that engine, None if it has no room."""
        cost = _cost(request)
        engine = next((one for one in self.engines if one.name == name and one.accepts(cost)), None)
        return None if engine is None else self._taken(engine, request, cost)

    def take(self, request: Waiting, without: Collection[Engine] = ()) -> Permit | None:
        """A slot of the engine that balancing chooses among those of its route with room, None if there is none.

        An engine of `without` is not chosen; one that failed the request before only if there is no other.
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
        return Permit(engine, request, cost=cost, probe=engine.breaker.begin(), since=now, on_release=self._give_back)

    def choose(self, tried: Collection[str] = (), model: str | None = None) -> Engine | None:
        """Return the least loaded engine that is up, for requests that take no slot; a name of `tried` comes last."""
        able = [engine for engine in self.routes.of(model) if engine.available]
        able = [engine for engine in able if engine.name not in tried] or able
        return self._least_loaded.choose(able) if able else None

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
        self.on_release(permit)
        self.on_change()

    # --- what is learned about them -------------------------------------------------------------------------------

    def answered(self, engine: Engine, status: int) -> None:
        """For every complete answer; a 4xx says nothing about the engine."""
        if status >= 500:
            self.failed(engine)
        elif status < 400 and engine.breaker.succeeded():
            log.warning("engine %s works again: circuit breaker closed", engine.name)
            self.on_change()

    def overloaded(self, engine: Engine, rest: float | None, model: str | None) -> None:
        """It answered 429 or 503, and named `rest` seconds or none. It works, so its breaker does not count this.

        It rests only if another engine takes requests for the model: a limit of one client must not stop all of them.
        """
        if rest and self.another(model, (engine.name,)):
            engine.rests_until = self._clock() + rest
            log.warning("engine %s is overloaded: no requests for %.0f s", engine.name, rest)

    def another(self, model: str | None, tried: Collection[str]) -> bool:
        """Whether an engine that is not one of `tried` takes requests for the model, now or once a slot is free."""
        return any(one.available and one.rests_until is None for one in self.routes.of(model) if one.name not in tried)

    def failed(self, engine: Engine) -> None:
        """A request of ours failed there: refused, broken off, silent, or a 5xx."""
        if engine.breaker.failed():
            log.warning("engine %s fails its requests: circuit breaker open", engine.name)
            self.on_change()

    def observe(self, engine: Engine, signals: Signals | None) -> None:
        """A scrape, or None if it failed."""
        before = engine.max_in_flight, engine.budget.capacity
        if signals is None:
            engine.lost_signals()
        else:
            engine.observe(signals)
        if before != (engine.max_in_flight, engine.budget.capacity):
            self.on_change()

    def mark_up(self, engine: Engine) -> None:
        """A probe found it well. Ends its rest if that is over, so that is noticed up to one probe late."""
        engine.failed_probes = 0
        if engine.rests_until is not None and self._clock() >= engine.rests_until:
            engine.rests_until = None
            self.on_change()
        if not engine.up and engine in self.engines:
            engine.up, engine.ejected = True, False
            engine.breaker.half_open()
            engine.progressed(self._clock())
            log.warning("engine %s is up", engine.name)
            self.on_change()
        elif engine.breaker.state is BreakerState.HALF_OPEN:
            self.on_change()

    def mark_down(self, engine: Engine, reason: str) -> None:
        engine.reason = reason
        if engine.up:
            engine.up = False
            engine.prefixes.clear()
            log.warning("engine %s is down: %s", engine.name, reason)
            self.on_change()

    def eject(self, engine: Engine, reason: str) -> None:
        """Down until it has shown that it produces tokens."""
        engine.ejected = True
        engine.ejections += 1
        self.mark_down(engine, reason)

    def learn_models(self, engine: Engine, cards: Mapping[str, ModelCard] | None) -> None:
        """Note the models that the engine serves; None if it does not say. The configuration wins."""
        if engine.settings.models:
            return
        before = engine.models
        engine.cards = dict(cards or {})
        engine.models = None if cards is None else frozenset(cards)
        if engine.models != before and engine in self.engines:
            self._reroute()
            self.on_change()

    def _reroute(self) -> None:
        self.routes = Routes(self.engines)

    def why_down(self, route: Route | None = None) -> str:
        """One line about every engine that takes no requests: its name, as clients may see it, and the reason."""
        down = [engine for engine in (self.engines if route is None else route) if not engine.available]
        return "; ".join(f"{engine.shown}: {engine.why_unavailable()}" for engine in down) or "none is configured"

    # --- who there is ---------------------------------------------------------------------------------------------

    def add(self, settings: EngineSettings) -> Engine:
        """Takes requests once a probe found it up. ValueError if the name is in use; one that drains is not."""
        if any(engine.name == settings.name for engine in self.engines):
            raise ValueError(f"there is an engine {settings.name} already")
        engine = self._make(settings)
        self.engines.append(engine)
        self._reroute()
        return engine

    def remove(self, name: str) -> asyncio.Future[None]:
        """The engine gets no more requests from now on; the result is there when its last permit is back.

        Raises KeyError if there is no engine of that name.
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

    def watched(self) -> list[Engine]:
        """All that hold requests or may get some: an engine that hangs must not hang its own removal."""
        return [*self.engines, *self.draining]

    def _gone(self, engine: Engine) -> None:
        drained = self.draining.pop(engine)
        if not drained.done():
            drained.set_result(None)
        if all(engine.name != other.name for other in (*self.engines, *self.draining)):
            self.on_removed(engine.name)


def _cost(request: Waiting) -> int:
    return request.prompt_tokens + request.output_tokens
