"""A simulated day under one strategy: engines that take minutes to start, and drain before they end."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from llm_deploy.autoscale.hpa import Autoscaler
from llm_deploy.autoscale.strategy import Look, Strategy, average
from llm_gateway.classes import PriorityClass
from llm_gateway.engines import Engine
from llm_gateway.settings import GatewaySettings
from llm_gateway.simulate.engine_model import EngineModel
from llm_gateway.simulate.events import Fleet, replay
from llm_gateway.simulate.load import TraceRequest
from llm_gateway.simulate.summary import ALL, summarise

MODEL = EngineModel(itl_base=0.05, itl_slope=0.0012, prefill=0.0001, kv_tokens=64_000, max_running=32)
"""A large model on one node: a step takes 51 ms alone and 88 ms in a full batch."""
SLO = PriorityClass(name="standard", priority=1, ttft_target=2.0, tpot_target=0.2, max_queue=5_000)
"""The promise of the gateway's class `standard`."""
OBJECTIVE = 0.99
"""Share of the requests that must get what is promised."""
SAMPLE_SECONDS = 5.0
"""Between two samples of the fleet."""
SYNC_SECONDS = 15.0
"""--horizontal-pod-autoscaler-sync-period."""
FLAP_SECONDS = 900.0
"""A change that is turned back sooner than this was not worth the start of an engine."""


@dataclass(frozen=True, slots=True)
class World:
    """The conditions that are the same for every strategy."""

    start_seconds: float = 180.0
    """From the decision to the first request: a node, the image, the weights, the first compilation."""
    most: int = 8
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """The result of one day."""

    strategy: str
    requests: int
    attainment: float
    """Share of the requests within both objectives; a refused request is outside."""
    ttft_p99: float | None
    refused: int
    engine_hours: float
    most: int
    """Largest number of engines at once."""
    changes: int
    flaps: int
    """Changes of direction within FLAP_SECONDS."""
    reversals_per_hour: float


@dataclass(slots=True, kw_only=True)
class _Scaler:
    """The autoscaler and the ReplicaSet: it decides at each sync, and starts and drains engines."""

    strategy: Strategy
    world: World
    replicas: int
    interval: float = SAMPLE_SECONDS
    engine_seconds: float = 0.0
    most: int = 0
    changes: list[tuple[float, int]] = field(default_factory=list)
    """Time and difference of each change."""
    _ready_at: dict[Engine, float] = field(default_factory=dict)
    """Engines that were asked for, oldest first; time of their first request."""
    _autoscaler: Autoscaler | None = None
    _looks: deque[Look] = field(default_factory=deque)
    _next_sync: float = 0.0

    def control(self, fleet: Fleet) -> None:
        if self._autoscaler is None:
            self._autoscaler = Autoscaler(self.strategy.behaviour)
            self._begin(fleet)
        for engine, ready_at in self._ready_at.items():
            if not engine.up and ready_at <= fleet.now:
                fleet.switch(engine, up=True)
        self._looks.append(self._look(fleet))
        if fleet.now >= self._next_sync:
            self._next_sync = fleet.now + SYNC_SECONDS
            self._sync(fleet, self._autoscaler)
        held = sum(1 for engine in fleet.engines if engine in self._ready_at or engine.in_flight)
        self.engine_seconds += held * self.interval
        self.most = max(self.most, held)

    def _sync(self, fleet: Fleet, autoscaler: Autoscaler) -> None:
        while len(self._looks) > max(1, self.strategy.average_seconds // self.interval):
            self._looks.popleft()
        desired = self.strategy.desire(average(self._looks))
        wanted = autoscaler.decide(fleet.now, self.replicas, desired)
        if wanted != self.replicas:
            self.changes.append((fleet.now, wanted - self.replicas))
            self._scale(fleet, wanted)

    def _begin(self, fleet: Fleet) -> None:
        for index, engine in enumerate(fleet.engines):
            engine.up = index < self.replicas
            if engine.up:
                self._ready_at[engine] = 0.0

    def _look(self, fleet: Fleet) -> Look:
        ready = [engine for engine in self._ready_at if engine.up]
        kv_used = sum(simulated.kv_used() for simulated in fleet.engines.values())
        return Look(
            replicas=self.replicas,
            ready=len(ready),
            running=sum(engine.in_flight for engine in fleet.engines),
            waiting=fleet.queued,
            kv_used=kv_used / MODEL.kv_tokens,
            busy=tuple(float(engine.in_flight > 0) for engine in ready),
        )

    def _scale(self, fleet: Fleet, wanted: int) -> None:
        """Start engines, or end the youngest, as a ReplicaSet does: those that are not ready yet come first."""
        free = [engine for engine in fleet.engines if engine not in self._ready_at and not engine.in_flight]
        for engine in free[: max(0, wanted - self.replicas)]:
            self._ready_at[engine] = fleet.now + self.world.start_seconds
        for engine in list(self._ready_at)[wanted:]:
            del self._ready_at[engine]
            if engine.up:
                fleet.switch(engine, up=False)
        self.replicas = len(self._ready_at)


def run_day(strategy: Strategy, trace: Sequence[TraceRequest], world: World, *, begin: int) -> Day:
    """Replay a day that begins with `begin` engines."""
    spare = 4  # engines that still drain while others start
    engine = {"max_in_flight": MODEL.max_running, "kv_tokens": MODEL.kv_tokens}
    settings = GatewaySettings(
        engines=[{"url": f"http://engine-{index}", **engine} for index in range(world.most + spare)],
        classes=[SLO],
        default_class=SLO.name,
        max_queue=5_000,
        balancing="least_loaded",
    )
    scaler = _Scaler(strategy=strategy, world=world, replicas=begin)
    result = replay(trace, "fcfs", settings, MODEL, seed=world.seed, controller=scaler)
    row = next(each for each in summarise(result, settings.classes, {}) if each.name == ALL)
    turns = [
        later - sooner
        for (sooner, first), (later, second) in zip(scaler.changes, scaler.changes[1:], strict=False)
        if (first > 0) != (second > 0)
    ]
    return Day(
        strategy=strategy.name,
        requests=row.requests,
        attainment=row.attainment,
        ttft_p99=row.ttft_p99,
        refused=row.rejected,
        engine_hours=scaler.engine_seconds / 3600,
        most=scaler.most,
        changes=len(scaler.changes),
        flaps=sum(seconds < FLAP_SECONDS for seconds in turns),
        reversals_per_hour=len(turns) / max(math.ceil(result.ended / 3600), 1),
    )
