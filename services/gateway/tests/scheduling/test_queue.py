from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_gateway.classes import DEFAULT_CLASSES, PriorityClass
from llm_gateway.scheduling.policies import POLICY_NAMES, PolicyName, make_policy
from llm_gateway.scheduling.queue import QueueFull, RequestQueue
from llm_gateway.waiting import Waiting

INTERACTIVE, STANDARD, BATCH = DEFAULT_CLASSES
NOW = 1e6
"""Nothing in these tests but share ceilings and the default policy's guard depends on the moment of a pop."""


def queue_of(policy: PolicyName, max_queue: int = 200, *more: PriorityClass) -> RequestQueue:
    classes = (*DEFAULT_CLASSES, *more)
    return RequestQueue(make_policy(policy, classes, aging_rate=0.05, fairness_window=5.0), classes, max_queue)


def test_the_smallest_key_comes_first_and_ties_keep_their_order() -> None:
    queue = queue_of("priority")
    requests = [Waiting(cls, 0.0) for cls in (BATCH, STANDARD, INTERACTIVE, STANDARD)]
    for request in requests:
        queue.push(request)
    assert [queue.pop(NOW) for _ in range(5)] == [requests[2], requests[1], requests[3], requests[0], None]


def test_peek_is_what_pop_gives_and_takes_nothing() -> None:
    queue = queue_of("composite")
    assert queue.peek(0.0) is None
    request = Waiting(BATCH, 0.0)
    queue.push(request)
    assert queue.peek(0.0) is queue.peek(0.0) is queue.pop(0.0) is request
    assert queue.peek(0.0) is None


def test_both_bounds_are_kept_and_named() -> None:
    small = PriorityClass(name="small", priority=0, ttft_target=1, tpot_target=1, max_queue=1)
    queue = queue_of("fcfs", 2, small)
    queue.push(Waiting(small, 0.0))
    with pytest.raises(QueueFull, match="class small is full: 1"):
        queue.push(Waiting(small, 1.0))
    queue.push(Waiting(BATCH, 2.0))
    with pytest.raises(QueueFull, match="the queue is full: 2"):
        queue.push(Waiting(BATCH, 3.0))
    assert (len(queue), queue.depth("small"), queue.depth("batch")) == (2, 1, 1)


@pytest.mark.parametrize("policy", ["fcfs", "aging", "edf", "composite"])
def test_a_request_that_comes_back_keeps_its_place_and_passes_the_bound(policy: PolicyName) -> None:
    queue = queue_of(policy, 1)
    first, second = Waiting(BATCH, 0.0), Waiting(BATCH, 0.0)
    queue.push(first)
    assert queue.pop(NOW) is first
    queue.push(second)
    queue.push(first, bounded=False)
    assert [queue.pop(NOW), queue.pop(NOW)] == [first, second]


def test_a_class_at_its_ceiling_is_passed_over_until_its_oldest_is_overdue() -> None:
    queue = queue_of("composite")
    urgent, bulk = Waiting(INTERACTIVE, 0.0), Waiting(BATCH, 0.0)
    queue.push(urgent)
    queue.push(bulk)
    held = {"interactive"}
    assert queue.peek(0.0, held) is bulk
    assert queue.peek(0.0, {"interactive", "batch"}) is None
    assert queue.peek(urgent.due - 0.001, held) is bulk
    assert queue.peek(urgent.due, held) is urgent
    assert queue.peek(urgent.due, {"interactive", "batch"}) is urgent


def test_a_policy_without_a_bound_keeps_the_ceiling_for_ever() -> None:
    queue = queue_of("priority")
    queue.push(Waiting(INTERACTIVE, 0.0))
    assert queue.peek(NOW, {"interactive"}) is None


@pytest.mark.parametrize("policy", POLICY_NAMES)
def test_discarding_many_keeps_the_rest_in_order(policy: PolicyName) -> None:
    queue = queue_of(policy)
    requests = [Waiting(BATCH, float(index), output_tokens=index, deadline=float(index)) for index in range(200)]
    for request in requests:
        queue.push(request)
    assert all(queue.discard(request) for request in requests if request.arrived % 10)
    assert not queue.discard(requests[1])
    assert [queue.pop(NOW) for _ in range(21)] == [*requests[::10], None]


@dataclass(frozen=True)
class Push:
    cls: PriorityClass
    tenant: str
    deadline: float
    output_tokens: int


STEPS = st.lists(
    st.one_of(
        st.builds(Push, st.sampled_from(DEFAULT_CLASSES), st.sampled_from("abc"), st.floats(0, 50), st.integers(1, 9)),
        st.just("pop"),
        st.just("come back"),
        st.integers(0, 40),
    ),
    max_size=150,
)


@pytest.mark.parametrize("policy", POLICY_NAMES)
@settings(deadline=None, max_examples=50)
@given(steps=STEPS)
def test_no_request_is_lost_or_doubled(policy: PolicyName, steps: list[Push | str | int]) -> None:
    """Compare with a plain list. An integer discards that request; "come back" queues the last popped one again."""
    queue = queue_of(policy, 30)
    everyone: list[Waiting] = []
    waiting: list[Waiting] = []
    popped: list[Waiting] = []
    for now, step in enumerate(steps):
        if isinstance(step, Push) and len(waiting) < 30:
            request = Waiting(step.cls, float(now), tenant=step.tenant, output_tokens=step.output_tokens)
            request.deadline = now + step.deadline
            queue.push(request)
            everyone.append(request)
            waiting.append(request)
        elif step == "pop":
            expected = queue.peek(float(now))
            request_or_none = queue.pop(float(now))
            assert request_or_none is expected
            assert (request_or_none is None) is (not waiting), "work conserving"
            if request_or_none is not None:
                waiting.remove(request_or_none)
                popped.append(request_or_none)
                queue.charge(request_or_none, request_or_none.output_tokens)
        elif step == "come back" and popped:
            request = popped.pop()
            queue.push(request, bounded=False)
            waiting.append(request)
        elif isinstance(step, int) and step < len(everyone):
            assert queue.discard(everyone[step]) is (everyone[step] in waiting)
            waiting = [one for one in waiting if one is not everyone[step]]
        assert len(queue) == len(waiting)
        assert {cls.name: queue.depth(cls.name) for cls in DEFAULT_CLASSES} == {
            cls.name: sum(one.cls is cls for one in waiting) for cls in DEFAULT_CLASSES
        }
        assert set(queue.oldest()) <= set(waiting)
    assert {queue.pop(NOW) for _ in range(len(waiting))} == set(waiting)


KEYED: tuple[PolicyName, ...] = ("fcfs", "priority", "aging", "edf", "sjf")


@pytest.mark.parametrize("policy", KEYED)
@settings(deadline=None, max_examples=50)
@given(steps=STEPS)
def test_a_keyed_policy_serves_in_the_order_of_its_key(policy: PolicyName, steps: list[Push | str | int]) -> None:
    queue = queue_of(policy, 1000)
    waiting: list[Waiting] = []
    for now, step in enumerate(steps):
        if isinstance(step, Push):
            request = Waiting(step.cls, float(now), tenant=step.tenant, output_tokens=step.output_tokens)
            request.deadline = now + step.deadline
            queue.push(request)
            waiting.append(request)
        elif waiting:
            expected = min(waiting, key=lambda one: (one.key, one.order))
            assert queue.pop(float(now)) is expected
            waiting.remove(expected)


def test_in_a_full_queue_a_newcomer_takes_the_newest_place_of_the_tenant_with_the_most_per_weight() -> None:
    queue = queue_of("composite", 6)
    flood = [Waiting(BATCH, float(index), tenant="a", weight=2.0) for index in range(4)]
    others = [Waiting(BATCH, 4.0, tenant="b"), Waiting(STANDARD, 4.0, tenant="c")]
    for request in (*flood, *others):
        assert queue.push(request) is None
    assert queue.push(newcomer := Waiting(BATCH, 5.0, tenant="d")) is flood[3]
    assert not flood[3].queued
    assert newcomer.queued
    with pytest.raises(QueueFull, match="the queue is full: 6"):
        queue.push(Waiting(BATCH, 6.0, tenant="d"))  # 2 per weight against 1.5 of a
    with pytest.raises(QueueFull, match="the queue is full: 6"):
        queue.push(Waiting(BATCH, 6.0, tenant="a", weight=2.0))
    with pytest.raises(QueueFull, match="the queue is full: 6"):
        queue.push(Waiting(STANDARD, 6.0, tenant="c"))  # of its own class only
    assert len(queue) == 6


def test_a_request_that_had_a_slot_before_is_not_pushed_out() -> None:
    queue = queue_of("fcfs", 3)
    flood = [Waiting(BATCH, float(index), tenant="a") for index in range(3)]
    for request in flood:
        queue.push(request)
    assert queue.pop(NOW) is flood[0]
    assert queue.push(flood[0], bounded=False) is None
    assert queue.push(Waiting(BATCH, 5.0, tenant="b")) is flood[2]


@settings(deadline=None, max_examples=100)
@given(
    st.lists(st.one_of(st.tuples(st.sampled_from("abcd"), st.sampled_from(DEFAULT_CLASSES)), st.none()), max_size=120)
)
def test_pushing_out_loses_nobody_and_evens_out_the_shares(steps: list[tuple[str, PriorityClass] | None]) -> None:
    weights = {"a": 1.0, "b": 1.0, "c": 2.0, "d": 5.0}
    queue = queue_of("composite", 8)
    waiting: set[Waiting] = set()

    def per_weight(tenant: str, cls: PriorityClass) -> float:
        return sum(one.tenant == tenant and one.cls is cls for one in waiting) / weights[tenant]

    for now, step in enumerate(steps):
        if step is None:
            waiting.discard(queue.pop(float(now)))
            continue
        tenant, cls = step
        largest = max(per_weight(each, cls) for each in weights)
        own = per_weight(tenant, cls) + 1 / weights[tenant]
        request = Waiting(cls, float(now), tenant=tenant, weight=weights[tenant])
        full = len(waiting) == 8
        if full and own >= largest:
            with pytest.raises(QueueFull):
                queue.push(request)
            continue
        victim = queue.push(request)
        assert (victim is not None) == full
        if victim is not None:
            assert per_weight(victim.tenant, cls) == largest
            waiting.remove(victim)
        waiting.add(request)
        assert len(queue) == len(waiting) <= 8
    assert {queue.pop(NOW) for _ in range(len(waiting))} == waiting
