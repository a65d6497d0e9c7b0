from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_contract.errors import ApiError, ErrorKind
from llm_gateway.classes import DEFAULT_CLASSES, ClassTable, PriorityClass
from llm_gateway.engines import EnginePool, Permit
from llm_gateway.engines.settings import EngineSettings
from llm_gateway.scheduling.dispatch import Dispatcher
from llm_gateway.scheduling.policies import Aging
from llm_gateway.scheduling.queue import RequestQueue
from llm_gateway.scheduling.wait_bound import WaitBound
from llm_gateway.settings import GatewaySettings
from llm_gateway.waiting import Waiting
from llm_proxy.upstream.interrupt import Interrupted

INTERACTIVE, STANDARD, BATCH = DEFAULT_CLASSES


class World:
    """A dispatcher over engines with `limits` slots each, all up, and a clock that the test moves."""

    def __init__(
        self, *limits: int, max_queue: int = 100, classes: Sequence[PriorityClass] = DEFAULT_CLASSES, **more: Any
    ) -> None:
        self.now = 0.0
        engines = [EngineSettings(url=f"http://e{i}", max_in_flight=n) for i, n in enumerate(limits)]
        self.pool = EnginePool(engines, clock=lambda: self.now)
        policy = Aging(0.05, INTERACTIVE.priority, fairness_window=5.0)
        self.queue = RequestQueue(policy, classes, max_queue)
        self.violations: list[str] = []
        bound = WaitBound(
            policy, classes, self.queue, max_queue, rate=self.pool.rate, on_violation=self.violations.append
        )
        self.shed: list[str] = []
        settings = GatewaySettings(
            engines=("http://unused",), max_queue=max_queue, probe_interval=3.0, classes=classes, **more
        )
        table = ClassTable(settings.classes, "standard")
        self.dispatcher = Dispatcher(
            settings,
            table,
            self.queue,
            pool=self.pool,
            wait_bound=bound,
            clock=lambda: self.now,
            on_shed=self.shed.append,
        )
        for engine in self.pool.engines:
            self.pool.mark_up(engine)

    def arrive(self, cls: PriorityClass) -> tuple[Waiting, asyncio.Task[Permit]]:
        self.now += 1.0
        request = Waiting(cls, self.now)
        return request, asyncio.ensure_future(self.dispatcher.acquire(request))

    @property
    def in_flight(self) -> int:
        return sum(engine.in_flight for engine in self.pool.engines)


async def settle() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


async def test_a_free_slot_is_given_at_once_and_the_rest_wait_in_order() -> None:
    world = World(1)
    _, first = world.arrive(BATCH)
    await settle()
    permit = first.result()
    tasks = {cls.name: world.arrive(cls)[1] for cls in (BATCH, STANDARD, INTERACTIVE)}
    await settle()
    order = []
    for _ in range(3):
        permit.release()
        await settle()
        name = next(name for name, task in tasks.items() if task.done())
        permit = tasks.pop(name).result()
        order.append(name)
    assert order == ["interactive", "standard", "batch"]


async def test_cancelled_while_queued_it_leaves_the_queue() -> None:
    world = World(1)
    _, holder = world.arrive(BATCH)
    _, waiting = world.arrive(BATCH)
    await settle()
    waiting.cancel()
    await settle()
    assert len(world.queue) == 0
    holder.result().release()
    assert world.in_flight == 0


async def test_cancelled_in_the_moment_of_the_grant_it_gives_the_slot_to_the_next() -> None:
    world = World(1)
    _, holder = world.arrive(BATCH)
    _, waiting = world.arrive(BATCH)
    _, next_one = world.arrive(BATCH)
    await settle()
    holder.result().release()
    waiting.cancel()
    await settle()
    assert waiting.cancelled()
    assert next_one.done()
    next_one.result().release()
    assert world.in_flight == 0


async def test_a_full_queue_says_when_to_come_back() -> None:
    world = World(1, max_queue=2)
    tasks = [world.arrive(INTERACTIVE)[1] for _ in range(3)]
    await settle()
    for _ in range(500):
        world.pool.rate.held(1.3)
    with pytest.raises(ApiError, match="the queue is full: 2") as caught:
        await world.dispatcher.acquire(Waiting(INTERACTIVE, world.now))
    assert caught.value.kind is ErrorKind.QUEUE_FULL
    assert world.shed == []
    assert caught.value.retry_after == pytest.approx(3 * 1.3, rel=0.15)
    for task in tasks:
        task.cancel()


@pytest.mark.parametrize("idle", [0.0, 3600.0])
@pytest.mark.parametrize(
    ("slots", "queued", "output_tokens", "at_most"),
    [(1, 2, 8, 1.0), (16, 64, 8, 1.4), (4, 16, 16, 2.0), (8, 100, 128, 35.0), (1, 100, 1000, 60.0)],
)
async def test_a_gateway_that_served_nothing_yet_predicts_from_its_slots(
    idle: float, slots: int, queued: int, output_tokens: int, at_most: float
) -> None:
    world = World(slots, max_queue=queued)
    world.now += idle
    tasks = [world.arrive(INTERACTIVE)[1] for _ in range(slots + queued)]
    await settle()
    with pytest.raises(ApiError) as caught:
        await world.dispatcher.acquire(Waiting(INTERACTIVE, world.now, output_tokens=output_tokens))
    assert caught.value.retry_after is not None
    assert 1.0 <= caught.value.retry_after <= at_most
    for task in tasks:
        task.cancel()


async def test_a_burst_after_a_quiet_hour_is_judged_by_what_a_request_takes() -> None:
    """Ten requests in an hour do not measure the capacity of a full gateway."""
    world = World(4, max_queue=8)
    for _ in range(10):
        world.now += 360.0
        permit = await world.dispatcher.acquire(Waiting(STANDARD, world.now))
        world.now += 0.4
        permit.release()
    tasks = [world.arrive(INTERACTIVE)[1] for _ in range(12)]
    await settle()
    with pytest.raises(ApiError) as caught:
        await world.dispatcher.acquire(Waiting(INTERACTIVE, world.now))
    assert caught.value.retry_after == pytest.approx(1.0, abs=0.3)
    for task in tasks:
        task.cancel()


@given(st.integers(1, 64), st.lists(st.floats(0, 100), max_size=20), st.integers(1, 5000))
@settings(deadline=None)
def test_a_predicted_wait_grows_with_the_queue_and_stays_within_its_limits(
    slots: int, held: list[float], output_tokens: int
) -> None:
    async def check() -> None:
        world = World(slots)
        for seconds in held:
            world.pool.rate.held(seconds)
        request = Waiting(STANDARD, 0.0, output_tokens=output_tokens)
        waits = []
        for _ in range(50):
            waits.append(world.dispatcher.predicted_wait(request))
            world.queue.push(Waiting(BATCH, 0.0))
        assert waits == sorted(waits)
        assert all(1.0 <= wait <= 60.0 for wait in waits)

    asyncio.run(check())


async def test_under_saturation_the_lowest_class_is_shed() -> None:
    world = World(1, max_queue=4, shedding={"start": 0.1, "full": 0.5})
    tasks = [world.arrive(INTERACTIVE)[1] for _ in range(4)]
    await settle()
    with pytest.raises(ApiError, match="class batch is being shed: 3 requests wait") as caught:
        await world.dispatcher.acquire(Waiting(BATCH, world.now))
    assert (caught.value.kind, world.shed) == (ErrorKind.QUEUE_FULL, ["batch"])
    assert caught.value.retry_after is not None
    tasks.append(world.arrive(INTERACTIVE)[1])
    await settle()
    assert len(world.queue) == 4
    for task in tasks:
        task.cancel()


@pytest.mark.parametrize(("status", "kind"), [(408, ErrorKind.QUEUE_TIMEOUT), (503, ErrorKind.OVERLOADED)])
async def test_waiting_ends_with_the_classs_timeout(status: int, kind: ErrorKind) -> None:
    hasty = BATCH.model_copy(update={"queue_timeout": 0.001})
    world = World(1, classes=(INTERACTIVE, STANDARD, hasty), queue_timeout_status=status)
    held = await world.arrive(STANDARD)[1]
    with pytest.raises(ApiError, match=r"no slot within 0.001 s, the limit of class batch") as caught:
        await world.arrive(hasty)[1]
    assert caught.value.kind is kind
    assert caught.value.retry_after is not None
    assert len(world.queue) == 0
    held.release()
    assert world.in_flight == 0


async def test_a_class_at_its_ceiling_lets_others_pass_and_alone_has_every_slot() -> None:
    limited = BATCH.model_copy(update={"share": 0.5})
    world = World(4, classes=(INTERACTIVE, STANDARD, limited))
    alone = [world.arrive(limited)[1] for _ in range(6)]
    await settle()
    permits = [task.result() for task in alone[:4]]
    assert not alone[4].done()
    late = [world.arrive(STANDARD)[1] for _ in range(2)]
    await settle()
    for permit in permits[:2]:
        permit.release()
    await settle()
    assert [task.done() for task in (*late, *alone[4:])] == [True, True, False, False]
    permits[2].release()
    await settle()
    assert alone[4].done(), "no other request waits"
    alone[5].cancel()


@pytest.mark.parametrize("overdue", [False, True])
async def test_a_ceiling_holds_until_a_request_is_overdue(overdue: bool) -> None:
    limited = STANDARD.model_copy(update={"share": 0.5})
    world = World(2, classes=(INTERACTIVE, limited, BATCH))
    await world.arrive(limited)[1]
    slot = await world.arrive(BATCH)[1]
    waiting, task = world.arrive(limited)
    other = world.arrive(BATCH)[1]
    await settle()
    world.now = waiting.due if overdue else world.now
    slot.release()
    await settle()
    assert (task.done(), other.done()) == (overdue, not overdue)
    assert world.violations == []
    for one in (task, other):
        one.cancel()


class Attempt:
    """An unanswered request at an engine. Its task's result says how it ended."""

    def __init__(self, world: World, cls: PriorityClass) -> None:
        self.request, self.acquiring = world.arrive(cls)
        self.permits: list[Permit] = []
        self.task = asyncio.create_task(self._run(world))

    async def _run(self, world: World) -> None:
        permit = await self.acquiring
        while True:
            self.permits.append(permit)
            try:
                with self.request.interruptible, permit:
                    await asyncio.Event().wait()
            except Interrupted:
                permit = await world.dispatcher.acquire(self.request)


async def test_the_youngest_of_the_least_urgent_gives_way_and_keeps_its_age() -> None:
    world = World(3, preemption={"enabled": True, "within": 100.0})
    attempts = [Attempt(world, cls) for cls in (BATCH, BATCH, STANDARD)]
    await settle()
    key = attempts[1].request.key
    urgent = world.arrive(INTERACTIVE)[1]
    await settle()
    await settle()
    assert urgent.done()
    assert [one.request.preempted for one in attempts] == [0, 1, 0]
    assert (attempts[1].request.key, attempts[1].request.queued, len(world.queue)) == (key, True, 1)
    urgent.result().release()
    await settle()
    assert len(attempts[1].permits) == 2, "it is back, on the slot that came free"
    for one in attempts:
        one.task.cancel()


@pytest.mark.parametrize("case", ["off", "answered", "older than the window", "equally urgent", "preempted enough"])
async def test_who_is_not_pulled_back(case: str) -> None:
    world = World(1, preemption={"enabled": case != "off", "within": 5.0, "max_times": 1})
    attempt = Attempt(world, INTERACTIVE if case == "equally urgent" else BATCH)
    await settle()
    if case == "answered":
        world.dispatcher.preemption.answered(attempt.request)
    if case == "older than the window":
        world.now += 10.0
    if case == "preempted enough":
        attempt.request.preempted = 1
    before = attempt.request.preempted
    urgent = world.arrive(INTERACTIVE)[1]
    await settle()
    assert not urgent.done()
    assert attempt.request.preempted == before
    urgent.cancel()
    attempt.task.cancel()


async def test_when_the_last_engine_goes_down_nobody_is_left_waiting() -> None:
    world = World(1, 1)
    tasks = [world.arrive(STANDARD)[1] for _ in range(4)]
    await settle()
    world.pool.mark_down(world.pool.engines[0], "connection refused")
    await settle()
    assert [task.done() for task in tasks] == [True, True, False, False]
    world.pool.mark_down(world.pool.engines[1], "no answer in time")
    await settle()
    for task in tasks[2:]:
        error = task.exception()
        assert isinstance(error, ApiError)
        assert error.kind is ErrorKind.ENGINE_UNAVAILABLE
        assert "e0:80: connection refused; e1:80: no answer in time" in error.message
        assert error.retry_after == 3.0
    with pytest.raises(ApiError):
        await world.dispatcher.acquire(Waiting(STANDARD, 0.0))


async def test_a_request_too_large_for_what_is_free_is_waited_for_and_nobody_waits_for_one_that_left() -> None:
    world = World(4)
    world.pool.engines[0].budget.set_kv_tokens(100)
    tasks = []
    for tokens in (60, 50, 10):
        request = Waiting(STANDARD, world.now, prompt_tokens=tokens)
        tasks.append(asyncio.ensure_future(world.dispatcher.acquire(request)))
        await settle()
    assert [task.done() for task in tasks] == [True, False, False]
    tasks[1].cancel()
    await settle()
    assert tasks[2].result().cost == 10
    assert world.pool.engines[0].budget.used == 70


Step = tuple[str, int]
STEPS = st.lists(
    st.tuples(st.sampled_from(["arrive", "arrive", "finish", "finish", "cancel", "down", "up"]), st.integers(0, 50)),
    max_size=80,
)


@settings(deadline=None)
@given(STEPS)
def test_whatever_happens_no_slot_leaks_and_no_request_is_forgotten(steps: list[Step]) -> None:
    asyncio.run(_check_invariants(steps))


async def _check_invariants(steps: list[Step]) -> None:
    world = World(1, 2)
    live: list[tuple[Waiting, asyncio.Task[Permit]]] = []
    held: list[Permit] = []
    for kind, number in steps:
        queued_before = [request for request, _ in live]
        if kind == "arrive":
            live.append(world.arrive(DEFAULT_CLASSES[number % 3]))
        elif kind == "finish" and held:
            held.pop(number % len(held)).release()
        elif kind == "cancel" and live:
            live[number % len(live)][1].cancel()
        elif kind == "down":
            world.pool.mark_down(world.pool.engines[number % 2], "x")
        elif kind == "up":
            world.pool.mark_up(world.pool.engines[number % 2])
        await settle()
        granted = [request for request, task in live if _has_permit(task)]
        held += [task.result() for _, task in live if _has_permit(task)]
        live = [(request, task) for request, task in live if not task.done()]
        assert world.in_flight == len(held), "permits are what is in flight"
        assert len(world.queue) == len(live), "every request without an answer is in the queue"
        if live:
            free = [one for one in world.pool.engines if one.up and one.in_flight < one.max_in_flight]
            assert world.pool.any_up(), "no request waits while all engines are down"
            assert not free, "no request waits while a slot is free"
        for request in granted:
            still = [one for one, _ in live if one in queued_before]
            assert all((request.key, request.order) < (one.key, one.order) for one in still if request.order >= 0)
        assert not world.violations
    for permit in held:
        permit.release()
    for _, task in live:
        task.cancel()
    await settle()


def _has_permit(task: asyncio.Task[Permit]) -> bool:
    return task.done() and not task.cancelled() and task.exception() is None
