"""Order and slots if engines serve different models: work conserving, bounded, and true to the models."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from typing import Any, TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from llm_contract.errors import ApiError
from llm_gateway.classes import DEFAULT_CLASSES, ClassTable, PriorityClass
from llm_gateway.engines import EnginePool, Permit
from llm_gateway.engines.settings import EngineSettings
from llm_gateway.scheduling.dispatch import Dispatcher
from llm_gateway.scheduling.policies import PolicyName, make_policy
from llm_gateway.scheduling.queue import RequestQueue
from llm_gateway.scheduling.wait_bound import WaitBound
from llm_gateway.settings import GatewaySettings
from llm_gateway.waiting import Waiting

INTERACTIVE, STANDARD, BATCH = DEFAULT_CLASSES
T = TypeVar("T")
LIMITED = BATCH.model_copy(update={"share": 0.5})


class World:
    """Engines by name with their models; a clock that the test moves."""

    def __init__(
        self,
        engines: Mapping[str, tuple[str, ...]],
        *,
        slots: int = 1,
        kv_tokens: int | None = None,
        policy: PolicyName = "composite",
        classes: tuple[PriorityClass, ...] = (INTERACTIVE, STANDARD, LIMITED),
    ) -> None:
        self.now = 0.0
        made = [
            EngineSettings(url=f"http://{name}", name=name, models=models, max_in_flight=slots, kv_tokens=kv_tokens)
            for name, models in engines.items()
        ]
        self.pool = EnginePool(made, clock=lambda: self.now)
        ordering = make_policy(policy, classes, aging_rate=0.1, fairness_window=5.0)
        self.queue = RequestQueue(ordering, classes, 100)
        self.violations: list[str] = []
        bound = WaitBound(ordering, classes, self.queue, 100, rate=self.pool.rate, on_violation=self.violations.append)
        table = ClassTable(classes, "standard")
        gateway = GatewaySettings(engines=("http://unused",), max_queue=100, classes=classes)
        self.dispatcher = Dispatcher(
            gateway,
            table,
            self.queue,
            pool=self.pool,
            wait_bound=bound,
            clock=lambda: self.now,
            on_shed=lambda _: None,
        )
        for engine in self.pool.engines:
            self.pool.mark_up(engine)

    def arrive(self, model: str | None, cls: PriorityClass = STANDARD, tokens: int = 1) -> asyncio.Task[Permit]:
        request = Waiting(cls, self.now, prompt_tokens=tokens, model=model)
        task = asyncio.ensure_future(self.dispatcher.acquire(request))
        task.set_name(str(model))
        return task


async def settle() -> None:
    for _ in range(4):
        await asyncio.sleep(0)


async def test_a_second_listener_of_the_pool_does_not_silence_the_dispatcher() -> None:
    world = World({"a": ("x",)})
    heard: list[str] = []
    world.pool.on_change.subscribe(lambda: heard.append("change"))
    first, second = world.arrive("x"), world.arrive("x")
    await settle()
    (await first).release()
    (await second).release()
    assert heard == ["change", "change"]


async def test_the_head_for_a_busy_model_is_passed_over() -> None:
    world = World({"a": ("llama",), "b": ("qwen",)})
    held = [world.arrive("llama"), world.arrive("qwen")]
    await settle()
    urgent = world.arrive("llama", INTERACTIVE)
    world.now += 1.0
    late = world.arrive("qwen", BATCH)
    await settle()
    held[1].result().release()
    await settle()
    assert late.done()
    assert not urgent.done()
    held[0].result().release()
    await settle()
    assert urgent.result().engine.name == "a"


async def test_a_large_request_keeps_its_own_engine_and_no_other() -> None:
    world = World({"a": ("llama",), "b": ("qwen",)}, slots=4, kv_tokens=100)
    running = world.arrive("llama", tokens=60)
    await settle()
    large, small, other = world.arrive("llama", tokens=90), world.arrive("llama"), world.arrive("qwen")
    await settle()
    assert (large.done(), small.done(), other.done()) == (False, False, True)
    running.result().release()
    await settle()
    assert (large.done(), small.done()) == (True, True)


async def test_a_share_ceiling_leaves_no_slot_idle_that_only_its_class_can_use() -> None:
    world = World({"a": ("llama",), "b": ("qwen",)}, slots=2)
    held = [world.arrive("llama") for _ in range(2)]
    await settle()
    waiting = world.arrive("llama", INTERACTIVE)
    bulk = [world.arrive("qwen", LIMITED) for _ in range(2)]
    await settle()
    assert all(one.done() for one in bulk)
    assert not waiting.done()
    for one in held:
        one.result().release()


async def test_an_engine_that_gets_a_model_serves_those_who_wait_for_it() -> None:
    world = World({"a": ("llama",)})
    engine = world.pool.add(EngineSettings(url="http://c", name="c"))
    world.pool.learn_models(engine, {"phi": {"id": "phi"}})
    world.pool.mark_up(engine)
    held = world.arrive("llama")
    await settle()
    waiting = world.arrive("llama")
    await settle()
    assert not waiting.done()
    world.pool.learn_models(engine, {"phi": {"id": "phi"}, "llama": {"id": "llama"}})
    await settle()
    assert waiting.result().engine.name == "c"
    held.result().release()


async def test_requests_whose_engines_all_went_down_fail_and_the_others_wait_on() -> None:
    world = World({"a": ("llama",), "b": ("qwen",)})
    held = [world.arrive("llama"), world.arrive("qwen")]
    await settle()
    stranded, waiting = world.arrive("llama"), world.arrive("qwen")
    await settle()
    world.pool.mark_down(world.pool.engines[0], "connection refused")
    await settle()
    assert isinstance(stranded.exception(), ApiError)
    assert not waiting.done()
    held[1].result().release()
    await settle()
    assert waiting.done()


MODELS = ("llama", "qwen", "phi", None)


class DispatcherMachine(RuleBasedStateMachine):
    """Arrivals, releases, cancellations, time, engines that fail and return, and models that come and go."""

    @initialize(
        policy=st.sampled_from(["composite", "aging", "fcfs", "edf"]),
        kv_tokens=st.sampled_from([None, 40]),
        served=st.lists(st.sets(st.sampled_from(MODELS[:3]), min_size=1), min_size=2, max_size=3),
    )
    def start(self, policy: PolicyName, kv_tokens: int | None, served: list[set[str]]) -> None:
        self.loop = asyncio.new_event_loop()
        engines = {f"e{index}": tuple(sorted(models)) for index, models in enumerate(served)}

        async def make() -> World:
            return World(engines, slots=2, kv_tokens=kv_tokens, policy=policy)

        self.world = self.run(make())
        self.tasks: list[asyncio.Task[Permit]] = []
        self.held: list[Permit] = []

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    def settle(self) -> None:
        self.run(settle())
        for task in [task for task in self.tasks if task.done()]:
            self.tasks.remove(task)
            if not task.cancelled() and task.exception() is None:
                permit = task.result()
                model = permit.request.model
                assert model is None or model in (permit.engine.models or ())
                self.held.append(permit)

    @rule(
        model=st.sampled_from(MODELS),
        cls=st.sampled_from((INTERACTIVE, STANDARD, LIMITED)),
        tokens=st.integers(1, 30),
        wait=st.floats(0, 30),
    )
    def arrive(self, model: str | None, cls: PriorityClass, tokens: int, wait: float) -> None:
        self.world.now += wait

        async def send() -> None:
            self.tasks.append(self.world.arrive(model, cls, tokens))

        self.run(send())
        self.settle()

    @rule(which=st.integers(0, 100))
    def release(self, which: int) -> None:
        if self.held:
            self.held.pop(which % len(self.held)).release()
            self.settle()

    @rule(which=st.integers(0, 100))
    def cancel(self, which: int) -> None:
        if self.tasks:
            self.tasks[which % len(self.tasks)].cancel()
            self.settle()

    @rule(which=st.integers(0, 2), up=st.booleans())
    def engine(self, which: int, up: bool) -> None:
        engines = self.world.pool.engines
        if up:
            self.world.pool.mark_up(engines[which % len(engines)])
        else:
            self.world.pool.mark_down(engines[which % len(engines)], "down")
        self.settle()

    @invariant()
    def no_slot_idles_that_a_request_waits_for(self) -> None:
        """Except at engines that are reserved for an earlier request, which waits for KV room."""
        world = self.world
        waiting = [one for route in world.queue.routes() for one in world.queue.waiting_for(route)]
        reserved = {
            engine
            for one in waiting
            for engine in world.queue.route_of(one)
            if engine.accepts(0) and not engine.accepts(one.prompt_tokens + one.output_tokens)
        }
        for one in waiting:
            assert any(engine.available for engine in world.queue.route_of(one)), "it should have failed"
            free = [engine.name for engine in world.queue.route_of(one) if engine.accepts(0) and engine not in reserved]
            assert not free, f"{one.model} waits and {free} idle"

    @invariant()
    def the_wait_bound_holds(self) -> None:
        assert self.world.violations == []

    def teardown(self) -> None:
        if hasattr(self, "world"):
            for engine in self.world.pool.engines:
                self.world.pool.mark_up(engine)
            self.settle()
            while self.held:
                self.held.pop().release()
                self.settle()
            assert not self.tasks, "every request is served in the end"
            assert len(self.world.queue) == 0
            self.loop.close()


TestDispatcherMachine = DispatcherMachine.TestCase
TestDispatcherMachine.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
