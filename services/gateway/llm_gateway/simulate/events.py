"""The event loop of the simulation: the next arrival or the next event of an engine, whichever is sooner.

A controller, if there is one, looks at the fleet at regular times, and starts or stops engines.

An arrival goes through the gateway's own dispatcher, queue, policy, estimator and engine pool. Two things are replaced:
time is a number that the loop advances, and a grant starts the sequence at its engine instead of waking a task.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from collections.abc import Sequence as Ordered
from dataclasses import dataclass, field
from typing import Protocol

from llm_contract.errors import ApiError
from llm_gateway.classes import ClassTable
from llm_gateway.engines import Engine, EnginePool, Permit
from llm_gateway.request.estimate import OutputEstimator
from llm_gateway.scheduling.dispatch import Dispatcher
from llm_gateway.scheduling.policies import PolicyName, make_policy
from llm_gateway.scheduling.queue import RequestQueue
from llm_gateway.scheduling.shedding import Shedder
from llm_gateway.scheduling.wait_bound import WaitBound
from llm_gateway.settings import GatewaySettings
from llm_gateway.simulate.engine_model import EngineModel, Sequence, SimulatedEngine
from llm_gateway.simulate.load import TraceRequest
from llm_gateway.waiting import Waiting


@dataclass(slots=True)
class Replay:
    """The result of replaying a trace under one policy."""

    policy: PolicyName
    sequences: list[Sequence] = field(default_factory=list)
    """One sequence per request, in order of arrival. `granted` is nan for a request that was refused."""
    violations: dict[str, int] = field(default_factory=dict)
    """Violations of the wait bound by class."""
    ended: float = 0.0
    """Time at which the last request ended, in seconds."""


class Fleet(Protocol):
    """The engines of a simulation, as a controller sees and changes them."""

    now: float

    @property
    def engines(self) -> Mapping[Engine, SimulatedEngine]: ...

    @property
    def queued(self) -> int:
        """Requests that wait in the gateway."""

    def switch(self, engine: Engine, up: bool) -> None:
        """Let an engine take requests, or only finish those that it has."""


class Controller(Protocol):
    """Starts and stops engines: `control` is called every `interval` seconds, first at time 0."""

    interval: float

    def control(self, fleet: Fleet) -> None: ...


def replay(
    trace: Ordered[TraceRequest],
    policy: PolicyName,
    settings: GatewaySettings,
    model: EngineModel,
    *,
    seed: int = 0,
    controller: Controller | None = None,
) -> Replay:
    """Replay a trace, which is in order of arrival, until every engine is idle.

    All engines of the settings are up from the start, unless a controller switches them off.
    """
    return _Simulation(policy, settings, model, seed, controller=controller).run(trace)


class _Grant:
    """A stand-in for the future of a waiting request. A permit starts its sequence at once."""

    __slots__ = ("_sequence", "_simulation", "_waiting")

    def __init__(self, simulation: _Simulation, sequence: Sequence, waiting: Waiting) -> None:
        self._simulation = simulation
        self._sequence = sequence
        self._waiting = waiting

    def done(self) -> bool:
        return False

    def set_result(self, permit: Permit) -> None:
        self._simulation.start(self._sequence, self._waiting, permit)

    def set_exception(self, error: ApiError) -> None:
        """Ignore that the request was pushed out of the queue: it stays without a grant."""


class _Dispatcher(Dispatcher):
    """A dispatcher that takes a request without waiting for its grant."""

    def use(self, source: random.Random, settings: GatewaySettings) -> None:
        """Shed with reproducible random numbers."""
        self._shedder = Shedder(settings.shedding, settings.classes, source.random)

    def offer(self, request: Waiting, grant: _Grant) -> None:
        """Do what `acquire` does before it waits. Raise ApiError if the request is refused."""
        if not self._queue and (permit := self._pool.take(request)):
            self._queue.admit(request)
            grant.set_result(permit)
            return
        self._enqueue(request, self._pool.routes.all)
        self._waiting[request] = grant
        self._pump()

    def pump(self) -> None:
        """Grant what has become possible."""
        self._pump()


class _Simulation:
    def __init__(
        self,
        policy_name: PolicyName,
        settings: GatewaySettings,
        model: EngineModel,
        seed: int,
        *,
        controller: Controller | None,
    ) -> None:
        self.now = 0.0
        self._controller = controller
        self._next_control = 0.0
        self._result = Replay(policy_name, violations={cls.name: 0 for cls in settings.classes})
        self._classes = {cls.name: cls for cls in settings.classes}
        self._weights = {tenant.name: tenant.weight for tenant in settings.tenants}
        self._estimator = OutputEstimator()
        self._running: dict[Sequence, tuple[Waiting, Permit]] = {}
        self._wire(policy_name, settings, seed)
        self.engines: dict[Engine, SimulatedEngine] = {}
        for engine in self._pool.engines:
            engine.up = True
            self.engines[engine] = SimulatedEngine(model)

    def _wire(self, policy_name: PolicyName, settings: GatewaySettings, seed: int) -> None:
        """Build the parts as llm_gateway.app does, on virtual time."""
        policy = make_policy(
            policy_name, settings.classes, aging_rate=settings.aging_rate, fairness_window=settings.fairness_window
        )
        source = random.Random(seed)
        self._queue = RequestQueue(policy, settings.classes, settings.max_queue)
        self._pool = EnginePool(
            settings.engines,
            kv_kappa=settings.kv_kappa,
            balancing=settings.balancing,
            clock=self._clock,
            source=source,
        )
        bound = WaitBound(
            policy,
            settings.classes,
            self._queue,
            settings.max_queue,
            rate=self._pool.rate,
            on_violation=self._violated,
        )
        self._dispatcher = _Dispatcher(
            settings,
            ClassTable(settings.classes, settings.default_class),
            self._queue,
            pool=self._pool,
            wait_bound=bound,
            clock=self._clock,
            on_shed=lambda class_name: None,
        )
        self._dispatcher.use(source, settings)

    def _clock(self) -> float:
        return self.now

    def _violated(self, class_name: str) -> None:
        self._result.violations[class_name] += 1

    def run(self, trace: Ordered[TraceRequest]) -> Replay:
        for request in trace:
            self._control(until=request.at)
            self._run_engines(until=request.at)
            self.now = request.at
            self._arrive(request)
        self._run_engines(until=float("inf"))
        self._result.ended = self.now
        return self._result

    @property
    def queued(self) -> int:
        return len(self._queue)

    def switch(self, engine: Engine, up: bool) -> None:
        engine.up = up
        self._dispatcher.pump()

    def _control(self, until: float) -> None:
        """Let the controller act at each of its times up to `until`."""
        while self._controller is not None and self._next_control <= until:
            self._run_engines(self._next_control)
            self.now = self._next_control
            self._controller.control(self)
            self._next_control += self._controller.interval

    def _run_engines(self, until: float) -> None:
        """Run the engines up to `until`. Events of engines come before an arrival at the same time."""
        engines = list(self.engines.values())
        while True:
            engine = min(engines, key=_next_event)
            if engine.next_event > until or engine.next_event == float("inf"):
                return
            self.now = engine.next_event
            for sequence in engine.run():
                self._finish(sequence)

    def _arrive(self, request: TraceRequest) -> None:
        cls = self._classes[request.class_name]
        waiting = Waiting(
            cls,
            request.at,
            tenant=request.tenant,
            weight=self._weights.get(request.tenant, 1.0),
            prompt_tokens=request.prompt_tokens,
            output_tokens=self._estimator.predict(cls.name, request.tenant, request.max_tokens).mean,
            deadline=request.at + cls.ttft_target,
        )
        sequence = Sequence(request)
        self._result.sequences.append(sequence)
        try:
            self._dispatcher.offer(waiting, _Grant(self, sequence, waiting))
        except ApiError:
            return  # refused: it stays without a grant

    def start(self, sequence: Sequence, waiting: Waiting, permit: Permit) -> None:
        sequence.granted = self.now
        self._running[sequence] = (waiting, permit)
        self.engines[permit.engine].submit(sequence, self.now)

    def _finish(self, sequence: Sequence) -> None:
        waiting, permit = self._running.pop(sequence)
        request = sequence.request
        self._queue.charge(waiting, request.output_tokens)
        self._estimator.observe(request.class_name, request.tenant, request.output_tokens)
        permit.release()


def _next_event(engine: SimulatedEngine) -> float:
    return engine.next_event
