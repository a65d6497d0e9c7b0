"""The wait bound that the README states, against arbitrary arrivals in virtual time."""

from __future__ import annotations

import math
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from llm_gateway.classes import DEFAULT_CLASSES, PriorityClass
from llm_gateway.scheduling.policies import Aging, OrderingPolicy, PolicyName, Vtc, make_policy
from llm_gateway.scheduling.queue import QueueFull, RequestQueue
from llm_gateway.scheduling.wait_bound import WaitBound
from llm_gateway.waiting import Waiting
from llm_proxy.upstream.service_rate import ServiceRate

INTERACTIVE, STANDARD, BATCH = DEFAULT_CLASSES
NAMES = [cls.name for cls in DEFAULT_CLASSES]
MAX_QUEUE = 10
AGING_RATE = 0.1
WINDOW = 5.0
BOUNDED: tuple[PolicyName, ...] = ("fcfs", "aging", "edf", "composite")


class World:
    """Queue and bound under one policy; `violations` are the classes whose overdue requests were passed."""

    def __init__(self, name: PolicyName, max_queue: int = MAX_QUEUE, aging_rate: float = AGING_RATE) -> None:
        self.now = 0.0
        self.slots = 0
        policy = make_policy(name, DEFAULT_CLASSES, aging_rate=aging_rate, fairness_window=WINDOW)
        self.queue = RequestQueue(policy, DEFAULT_CLASSES, max_queue)
        self.rate = ServiceRate(lambda: self.slots)
        self.violations: list[str] = []
        self.bound = self.bound_of(policy, max_queue)

    def bound_of(self, policy: OrderingPolicy, max_queue: int) -> WaitBound:
        return WaitBound(
            policy, DEFAULT_CLASSES, self.queue, max_queue, rate=self.rate, on_violation=self.violations.append
        )

    def grant(self, excluded: frozenset[str] = frozenset()) -> Waiting | None:
        request = self.queue.pop(self.now, excluded)
        if request is not None:
            self.bound.check(request, self.now)
        return request


# --- the ordinal promise, whatever happens ---


class QueueMachine(RuleBasedStateMachine):
    """Arrivals, grants under share ceilings, cancellations, failures that come back, and time, in any order."""

    @initialize(name=st.sampled_from(BOUNDED), aging_rate=st.sampled_from([0.02, 0.1, 1.0]))
    def start(self, name: PolicyName, aging_rate: float) -> None:
        self.world = World(name, aging_rate=aging_rate)
        self.waiting: list[Waiting] = []
        self.running: list[Waiting] = []
        self.arrivals = self.ended = 0

    @rule(
        cls=st.sampled_from(DEFAULT_CLASSES),
        tenant=st.sampled_from("abc"),
        weight=st.sampled_from([0.5, 1.0, 3.0]),
        deadline=st.floats(0, 60),
        tokens=st.integers(0, 1000),
    )
    def arrive(self, cls: PriorityClass, tenant: str, weight: float, deadline: float, tokens: int) -> None:
        now = self.world.now
        request = Waiting(cls, now, tenant=tenant, weight=weight, prompt_tokens=tokens, deadline=now + deadline)
        with suppress(QueueFull):
            pushed_out = self.world.queue.push(request)
            self.waiting.append(request)
            self.arrivals += 1
            if pushed_out is not None:
                self.waiting.remove(pushed_out)
                self.ended += 1

    @rule(excluded=st.frozensets(st.sampled_from(NAMES)))
    def grant(self, excluded: frozenset[str]) -> None:
        now = self.world.now
        granted = self.world.grant(excluded)
        may_go = [one for one in self.waiting if one.cls.name not in excluded or one.due <= now]
        if granted is None:
            assert not may_go, "work conserving"
            return
        self.waiting.remove(granted)
        self.running.append(granted)
        assert not [
            one for one in self.waiting if one.due <= now and one.key < granted.key
        ], "an overdue one was passed"

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        request = data.draw(st.sampled_from(self.waiting))
        assert self.world.queue.discard(request)
        self.waiting.remove(request)
        self.ended += 1

    @precondition(lambda self: self.running)
    @rule(data=st.data(), tokens=st.integers(0, 1000), comes_back=st.booleans())
    def finish(self, data: st.DataObject, tokens: int, comes_back: bool) -> None:
        request = data.draw(st.sampled_from(self.running))
        self.running.remove(request)
        self.world.queue.charge(request, tokens)
        if comes_back:
            before = (request.key, request.due, request.order)
            self.world.queue.push(request, bounded=False)
            assert (request.key, request.due, request.order) == before
            self.waiting.append(request)
        else:
            self.ended += 1

    @rule(seconds=st.floats(0, 30))
    def wait(self, seconds: float) -> None:
        self.world.now += seconds

    @invariant()
    def nobody_is_lost_or_doubled(self) -> None:
        assert self.arrivals == len(self.waiting) + len(self.running) + self.ended
        assert len(self.world.queue) == len(self.waiting)

    @invariant()
    def the_promise_holds(self) -> None:
        assert not self.world.violations


TestQueueMachine = QueueMachine.TestCase
TestQueueMachine.settings = settings(deadline=None, max_examples=80, stateful_step_count=60)


# --- the promise in seconds ---

Arrival = tuple[float, PriorityClass, str, float]


def serve(world: World, arrivals: list[Arrival], service_seconds: float = 1.0) -> list[tuple[Waiting, float]]:
    """Return each admitted request with its wait in seconds. One server takes the same time for each."""
    coming = sorted(arrivals, key=lambda arrival: arrival[0], reverse=True)
    served = []
    while coming or world.queue:
        while coming and (coming[-1][0] <= world.now or not world.queue):
            moment, cls, tenant, patience = coming.pop()
            world.now = max(world.now, moment)
            with suppress(QueueFull):
                world.queue.push(Waiting(cls, moment, tenant=tenant, prompt_tokens=100, deadline=moment + patience))
        if (request := world.grant()) is not None:
            served.append((request, world.now - request.arrived))
            world.now += service_seconds
    return served


def bound(cls: PriorityClass, rate: float = AGING_RATE) -> float:
    return (cls.priority - INTERACTIVE.priority) / rate + WINDOW + MAX_QUEUE


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(0, 60), st.sampled_from(DEFAULT_CLASSES), st.sampled_from("abcd"), st.floats(0, 90)),
        max_size=150,
    )
)
def test_no_request_waits_longer_than_its_bound(arrivals: list[Arrival]) -> None:
    world = World("composite")
    for request, waited in serve(world, arrivals):
        assert waited <= bound(request.cls) + 1e-9
    assert not world.violations


HALF_AN_HOUR = 1800


def saturating_load() -> list[Arrival]:
    """Return interactive requests at twice the service rate, and a batch request every 20 s."""
    urgent: list[Arrival] = [(0.5 * index, INTERACTIVE, "abc"[index % 3], 0.5) for index in range(2 * HALF_AN_HOUR)]
    return urgent + [(20.0 * index, BATCH, "abc"[index % 3], 30.0) for index in range(HALF_AN_HOUR // 20)]


@pytest.mark.parametrize("name", ["aging", "composite"])
def test_half_an_hour_of_saturating_interactive_load_starves_no_batch_request(name: PolicyName) -> None:
    classes = {cls.name: cls for cls in DEFAULT_CLASSES}
    world = World(name, max_queue=600, aging_rate=0.05)
    waits = [waited for request, waited in serve(world, saturating_load()) if request.cls is classes["batch"]]
    assert len(waits) == HALF_AN_HOUR // 20, "every batch request was served"
    assert max(waits) <= 2 / 0.05 + WINDOW + 600
    assert not world.violations


def test_under_strict_priority_the_same_load_starves_batch() -> None:
    waits = [waited for request, waited in serve(World("priority", 600), saturating_load()) if request.cls is BATCH]
    assert max(waits) > 2 / 0.05 + WINDOW + 600


# --- what is shown ---


@pytest.mark.parametrize(
    ("name", "passable"),
    [
        ("fcfs", [5.0, 5.0, 5.0]),
        ("aging", [5.0, 15.0, 25.0]),
        ("composite", [5.0, 15.0, 25.0]),
        ("edf", [5.5, 7.0, 35.0]),
        ("priority", [math.inf] * 3),
        ("sjf", [math.inf] * 3),
        ("vtc", [math.inf] * 3),
    ],
)
def test_the_bound_is_what_the_policy_allows_plus_the_queue_at_the_service_rate(
    name: PolicyName, passable: list[float]
) -> None:
    world = World(name)
    assert [world.bound.seconds(each) for each in NAMES] == [math.inf] * 3, "no service, no bound"
    world.slots = 4
    for _ in range(3000):
        world.rate.held(2.0)
    expected = [seconds + MAX_QUEUE / 2.0 for seconds in passable]
    assert [world.bound.seconds(each) for each in NAMES] == pytest.approx(expected, rel=0.02)


class Unfair(Vtc):
    """A policy that serves by tenant alone and claims the bound of aging."""

    key = Aging(AGING_RATE, 0, WINDOW).key
    due = Aging(AGING_RATE, 0, WINDOW).due


def test_a_policy_that_breaks_its_promise_is_found_out_grant_by_grant() -> None:
    world = World("vtc")
    policy = Unfair()
    world.queue = RequestQueue(policy, DEFAULT_CLASSES, MAX_QUEUE)
    world.bound = world.bound_of(policy, MAX_QUEUE)
    bulk, standard = Waiting(BATCH, 0.0, tenant="poor"), Waiting(
        STANDARD, 0.0, tenant="poor"
    )  # due at 25 and 15, keys 2 and 1
    urgent = [
        Waiting(INTERACTIVE, moment, tenant="rich", weight=1e9) for moment in (1.0, 15.0, 30.0)
    ]  # keys 0.1, 1.5, 3
    world.queue.charge(bulk, 1000)
    for request in (*urgent, bulk, standard):
        world.queue.push(request)
    broken = []
    for world.now in (10.0, 16.0, 31.0, 32.0, 33.0):
        granted = world.grant()
        assert granted is not None
        broken.append((granted.cls.name, world.violations[:]))
        world.violations.clear()
    assert broken == [
        ("interactive", []),
        ("interactive", ["standard"]),
        ("interactive", ["standard", "batch"]),
        ("batch", ["standard"]),
        ("standard", []),
    ]
