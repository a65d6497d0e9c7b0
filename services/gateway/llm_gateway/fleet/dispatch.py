"""The dispatcher of a gateway in a fleet: waiting requests bid in Redis, and Redis grants the slots.

While Redis answers, no slot is taken without a grant. Otherwise it works as the dispatcher that it extends, with this
replica's share of each engine's slots.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from llm_gateway.classes import ClassTable
from llm_gateway.engines import EnginePool, Permit
from llm_gateway.engines.routes import Route
from llm_gateway.fleet.bids import Bid
from llm_gateway.fleet.client import FleetClient
from llm_gateway.scheduling.dispatch import Dispatcher
from llm_gateway.scheduling.listener import QueueListener
from llm_gateway.scheduling.queue import RequestQueue
from llm_gateway.scheduling.wait_bound import WaitBound
from llm_gateway.settings import GatewaySettings
from llm_gateway.waiting import Waiting


class FleetDispatcher(Dispatcher):
    """A dispatcher that takes slots through `fleet`. It implements LocalDispatcher."""

    def __init__(
        self,
        settings: GatewaySettings,
        classes: ClassTable,
        queue: RequestQueue,
        *,
        pool: EnginePool,
        wait_bound: WaitBound,
        clock: Callable[[], float],
        on_shed: Callable[[str], None],
        listener: QueueListener | None = None,
    ) -> None:
        super().__init__(
            settings,
            classes,
            queue,
            pool=pool,
            wait_bound=wait_bound,
            clock=clock,
            on_shed=on_shed,
            listener=listener,
        )
        self._bids: dict[Waiting, Bid] = {}
        self.fleet = FleetClient(settings.fleet, self, _time_weight(settings), clock)
        pool.on_change.subscribe(self.fleet.changed)
        pool.rate.replicas = lambda: self.fleet.replicas

    def limits(self) -> Mapping[str, int]:
        engines = [one for one in self._pool.engines if one.available and one.rests_until is None]
        return {one.name: one.max_in_flight for one in engines if one.breaker.allows()}

    def in_flight(self) -> Mapping[str, int]:
        held: dict[str, int] = {}
        for engine in self._pool.watched():
            held[engine.name] = held.get(engine.name, 0) + engine.in_flight
        return held

    def grant(self, engine: str) -> bool:
        self._follow_routes()
        now, excluded = self._clock(), self._at_ceiling()
        elsewhere = [route for route in self._queue.routes() if all(one.name != engine for one in route)]
        head = self._queue.peek(now, excluded, elsewhere)
        granted = self._undecided(head) if head is not None else None
        permit = self._pool.take_from(engine, head) if head is not None and granted is not None else None
        if head is None or granted is None or permit is None:
            return False
        self._take_out(head)
        self._grant(head, granted, permit, now)
        return True

    def mode_changed(self) -> None:
        self._pool.share_among(1 if self.fleet.online else self.fleet.replicas)
        self._pump()

    def _at_once(self, request: Waiting) -> Permit | None:
        return None if self.fleet.online else super()._at_once(request)

    def _pump(self) -> None:
        if not self.fleet.online:
            super()._pump()
        else:
            self._follow_routes()
            self._fail_stranded()

    def _entered(self, request: Waiting, route: Route) -> None:
        others = [engine.name for engine in self._pool.engines if engine not in route]
        self._bids[request] = self.fleet.offer(request.key, avoid=[*request.tried, *others])

    def _left(self, request: Waiting) -> None:
        self.fleet.withdraw(self._bids.pop(request))


def _time_weight(settings: GatewaySettings) -> float:
    """Return the growth of the policy's key per second of arrival time."""
    if settings.policy in ("aging", "composite"):
        return settings.aging_rate
    return 1.0 if settings.policy in ("fcfs", "edf", "vtc") else 0.0
