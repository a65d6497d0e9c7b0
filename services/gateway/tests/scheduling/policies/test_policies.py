"""Each policy as a table: the waiting requests and the order in which they are served."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_gateway.classes import DEFAULT_CLASSES, PriorityClass
from llm_gateway.scheduling.policies import (
    POLICY_NAMES,
    Aging,
    Composite,
    Edf,
    Fcfs,
    PolicyName,
    Priority,
    Sjf,
    Vtc,
    make_policy,
)
from llm_gateway.scheduling.queue import RequestQueue
from llm_gateway.waiting import Waiting

CLASSES = {cls.name: cls for cls in DEFAULT_CLASSES}
INTERACTIVE, STANDARD, BATCH = DEFAULT_CLASSES


def served(name: PolicyName, requests: list[Waiting], now: float = 0.0, aging_rate: float = 0.05) -> list[int]:
    """Return the indices of `requests` in the order of service, if all wait at `now` and nothing is charged."""
    policy = make_policy(name, DEFAULT_CLASSES, aging_rate=aging_rate, fairness_window=5.0)
    queue = RequestQueue(policy, DEFAULT_CLASSES, 1000)
    for request in requests:
        queue.push(request)
    return [requests.index(served) for served in iter(lambda: queue.pop(now), None)]


def at(name: str, arrived: float) -> Waiting:
    return Waiting(CLASSES[name], arrived)


MIXED = [("batch", 0.0), ("interactive", 1.0), ("standard", 2.0), ("interactive", 3.0), ("batch", 4.0)]
LATE = [("batch", 0.0), ("interactive", 39.0), ("interactive", 41.0)]


@pytest.mark.parametrize(
    ("policy", "arrivals", "order"),
    [
        ("fcfs", MIXED, [0, 1, 2, 3, 4]),
        ("priority", MIXED, [1, 3, 2, 0, 4]),
        ("aging", MIXED, [1, 3, 2, 0, 4]),
        ("composite", MIXED, [1, 3, 2, 0, 4]),
        ("priority", LATE, [1, 2, 0]),
        ("aging", LATE, [1, 0, 2]),
        ("composite", LATE, [1, 0, 2]),
    ],
)
def test_classes(policy: PolicyName, arrivals: list[tuple[str, float]], order: list[int]) -> None:
    assert served(policy, [at(*arrival) for arrival in arrivals]) == order


def test_a_rate_of_zero_is_strict_priority() -> None:
    requests = [at(*arrival) for arrival in LATE]
    assert served("aging", requests, aging_rate=0.0) == [1, 2, 0]


def test_edf_serves_by_deadline_and_those_without_one_last() -> None:
    deadlines = [math.inf, 30.0, 10.0, 20.0]
    assert served("edf", [Waiting(STANDARD, 0.0, deadline=deadline) for deadline in deadlines]) == [2, 3, 1, 0]


def test_sjf_serves_by_predicted_work_in_which_an_output_token_weighs_as_much_as_fifty_of_the_prompt() -> None:
    sizes = [(0, 10), (400, 1), (451, 0), (100, 4)]
    requests = [Waiting(STANDARD, 0.0, prompt_tokens=prompt, output_tokens=output) for prompt, output in sizes]
    assert served("sjf", requests) == [3, 1, 2, 0]


@pytest.mark.parametrize("policy", ["vtc", "composite"])
def test_tenants_take_turns_by_what_their_prompts_cost_over_their_weight(policy: PolicyName) -> None:
    """Tenant a, with weight 2.5 and prompts of 100 tokens, pays 40 per request; b pays 100."""
    requests = [
        Waiting(BATCH, 0.0, tenant=tenant, weight=weight, prompt_tokens=100)
        for tenant, weight in [("a", 2.5)] * 4 + [("b", 1.0)] * 2
    ]
    assert served(policy, requests) == [0, 4, 1, 2, 5, 3]


def test_vtc_does_not_look_at_the_class() -> None:
    requests = [
        Waiting(INTERACTIVE, 0.0, tenant="a", weight=1.0, prompt_tokens=10),
        Waiting(INTERACTIVE, 0.0, tenant="a", weight=1.0, prompt_tokens=10),
    ]
    requests += [
        Waiting(BATCH, 0.0, tenant="b", weight=1.0, prompt_tokens=15),
        Waiting(BATCH, 0.0, tenant="b", weight=1.0, prompt_tokens=15),
    ]
    assert served("vtc", requests) == [0, 2, 1, 3]


def test_composite_keeps_accounts_per_class() -> None:
    policy = make_policy("composite", DEFAULT_CLASSES, aging_rate=0.05, fairness_window=5.0)
    queue = RequestQueue(policy, DEFAULT_CLASSES, 10)
    bulk = Waiting(BATCH, 0.0, tenant="a", weight=1.0, prompt_tokens=1000)
    queue.push(bulk)
    assert queue.pop(0.0) is bulk
    queue.charge(bulk, 1000)
    requests = [Waiting(INTERACTIVE, 0.0, tenant=tenant, weight=1.0, prompt_tokens=10) for tenant in "ab"]
    for request in requests:
        queue.push(request)
    assert [queue.pop(0.0), queue.pop(0.0)] == requests


def test_composite_serves_by_deadline_inside_a_tenant() -> None:
    requests = [Waiting(BATCH, 0.0, deadline=deadline) for deadline in (30.0, 10.0, 20.0)]
    assert served("composite", requests) == [1, 2, 0]


def test_composite_serves_the_oldest_itself_once_it_is_overdue() -> None:
    def requests() -> list[Waiting]:
        return [Waiting(INTERACTIVE, 0.0, deadline=30.0), Waiting(INTERACTIVE, 1.0, deadline=10.0)]

    assert served("composite", requests(), now=4.9) == [1, 0]
    assert served("composite", requests(), now=5.0) == [0, 1]
    assert served("composite", requests(), now=1e9, aging_rate=0.0) == [1, 0], "without aging there is no bound"


@settings(deadline=None)
@given(
    rate=st.floats(0.001, 10),
    first=st.sampled_from(DEFAULT_CLASSES),
    second=st.sampled_from(DEFAULT_CLASSES),
    arrived=st.floats(0, 1e6),
    gap=st.floats(0.001, 1e6),
)
def test_aging_lets_a_request_be_passed_only_by_those_that_come_within_its_bound(
    rate: float, first: PriorityClass, second: PriorityClass, arrived: float, gap: float
) -> None:
    early, late = Waiting(first, arrived), Waiting(second, arrived + gap)
    policy = Aging(rate, 0, fairness_window=0.0)
    passed = policy.key(late) < policy.key(early)
    bound = (early.cls.priority - late.cls.priority) / rate
    if passed:
        assert gap <= bound * (1 + 1e-6) + 1e-6
    elif gap < bound * (1 - 1e-6) - 1e-6:
        raise AssertionError("a more urgent request inside the bound must go first")


@given(name=st.sampled_from(POLICY_NAMES), keys=st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=2))
def test_due_never_decreases_with_the_key(name: PolicyName, keys: list[float]) -> None:
    policy = make_policy(name, DEFAULT_CLASSES, aging_rate=0.05, fairness_window=5.0)
    assert policy.due(min(keys)) <= policy.due(max(keys))


@pytest.mark.parametrize("name", ["fcfs", "aging", "edf", "composite"])
@given(
    early=st.floats(0, 1e6),
    after=st.floats(1e-3, 1e6),
    cls=st.sampled_from(DEFAULT_CLASSES),
    other=st.sampled_from(DEFAULT_CLASSES),
    patience=st.floats(0, 100),
)
def test_a_request_that_arrives_after_due_has_a_larger_key(
    name: PolicyName, early: float, after: float, cls: PriorityClass, other: PriorityClass, patience: float
) -> None:
    policy = make_policy(name, DEFAULT_CLASSES, aging_rate=0.05, fairness_window=0.0)
    key = policy.key(Waiting(cls, early, deadline=early + patience))
    late = policy.due(key) + after
    assert policy.key(Waiting(other, late, deadline=late)) > key


@pytest.mark.parametrize(
    ("name", "kind"),
    [*zip(POLICY_NAMES, [Fcfs, Priority, Aging, Edf, Sjf, Vtc, Composite], strict=True)],
)
def test_every_name_has_its_policy(name: PolicyName, kind: type) -> None:
    assert isinstance(make_policy(name, DEFAULT_CLASSES, aging_rate=0.1, fairness_window=1.0), kind)
