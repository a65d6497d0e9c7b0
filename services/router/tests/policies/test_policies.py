"""Properties that every policy has, and those that some have, over random sequences of requests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_proxy.upstream.signals import Signals
from llm_router.fleet import Engine, Fleet, Slot
from llm_router.policies import Policy, Routed, make_policy
from llm_router.policies.prefix import RATIO, SLACK
from llm_router.policies.session import BOUND
from llm_router.settings import PolicyName
from llm_router.testing import MODEL, fleet_of

NAMES: tuple[PolicyName, ...] = get_args(PolicyName)
BALANCED: tuple[PolicyName, ...] = ("prefix", "least_loaded", "session", "kv_aware")
"""Policies that bound the load. p2c bounds it in expectation only."""

prefixes = st.integers(0, 5).map(lambda group: tuple(group * 10 + block for block in range(4)))
requests = st.builds(Routed, prefixes, st.sampled_from([None, "a", "b", "c"]), st.integers(1, 500))
steps = st.lists(st.one_of(requests, st.integers(0, 1000)), max_size=80)
"""A request to place, or the number of a slot to give back."""


def played(fleet: Fleet, policy: Policy, script: list[Routed | int]) -> Iterator[tuple[Engine, list[float], Routed]]:
    """Run the script. Yield each chosen engine, the loads of all engines before the choice, and the request."""
    slots: list[Slot] = []
    for step in script:
        if isinstance(step, int):
            if slots:
                slots.pop(step % len(slots)).release()
        elif engines := fleet.candidates(MODEL):
            loads = [engine.load for engine in fleet.engines(MODEL)]
            chosen = policy.choose(engines, step)
            assert chosen in engines
            yield chosen, loads, step
            slots.append(fleet.take(chosen, step.prompt_tokens))


@pytest.mark.parametrize("name", NAMES)
@given(script=steps, engines=st.integers(1, 5))
def test_a_policy_chooses_an_engine_with_room(name: PolicyName, script: list[Routed | int], engines: int) -> None:
    fleet = fleet_of(engines, max_running=3)
    for chosen, _, _ in played(fleet, make_policy(name), script):
        assert chosen.has_room


@pytest.mark.parametrize("name", BALANCED)
@given(script=steps)
def test_no_engine_idles_while_the_chosen_one_is_above_the_slack(name: PolicyName, script: list[Routed | int]) -> None:
    for chosen, loads, _ in played(fleet_of(4), make_policy(name), script):
        assert min(loads) > 0 or chosen.load <= SLACK


@given(script=steps)
def test_prefix_stays_within_its_slack(script: list[Routed | int]) -> None:
    for chosen, loads, _ in played(fleet_of(4), make_policy("prefix"), script):
        assert chosen.load <= max(min(loads) + SLACK, min(loads) * RATIO)


@given(script=steps)
def test_least_loaded_takes_the_least_loaded(script: list[Routed | int]) -> None:
    for chosen, loads, _ in played(fleet_of(4), make_policy("least_loaded"), script):
        assert chosen.load == min(loads)


@given(script=steps)
def test_session_stays_below_its_bound(script: list[Routed | int]) -> None:
    for chosen, loads, request in played(fleet_of(4), make_policy("session"), script):
        if request.session is not None:
            assert chosen.load + 1 <= BOUND * (sum(loads) + 1) / len(loads) + 1


@given(script=steps, place=st.integers(0, 3))
def test_removal_moves_only_the_sessions_of_the_engine_that_left(script: list[Routed | int], place: int) -> None:
    fleet, policy = fleet_of(4), make_policy("session")
    names = [f"session {number}" for number in range(50)]

    def homes() -> dict[str, str]:
        return {name: policy.choose(fleet.candidates(MODEL), Routed(session=name)).info.id for name in names}

    for _ in played(fleet, policy, script):
        pass
    for slot in [slot for engine in fleet.engines() for slot in engine.held]:
        slot.release()
    before, left = homes(), fleet.engines(MODEL)[place]
    fleet.set_engines("test", [engine.info for engine in fleet.engines() if engine is not left])
    policy.forget(left)
    after = homes()
    assert {name for name in names if before[name] != after[name]} == {
        name for name in names if before[name] == left.info.id
    }


def test_prefix_follows_the_longest_match_until_the_slack_is_used_up() -> None:
    fleet, policy = fleet_of(3), make_policy("prefix")
    known = policy.choose(fleet.candidates(MODEL), Routed((1, 2, 3)))
    for _ in range(int(SLACK) + 1):
        assert policy.choose(fleet.candidates(MODEL), Routed((1, 2, 9))) is known
        fleet.take(known)
    other = policy.choose(fleet.candidates(MODEL), Routed((1, 2, 9)))
    assert other is not known
    assert other.prefixes.match((1, 2, 9)) == 3


def test_prefix_leaves_an_engine_whose_kv_cache_is_nearly_full() -> None:
    fleet, policy = fleet_of(2), make_policy("prefix")
    known = policy.choose(fleet.candidates(MODEL), Routed((1, 2)))
    known.observe(Signals(time=0.0, running=1, waiting=0, kv_usage=0.97), 1)
    assert policy.choose(fleet.candidates(MODEL), Routed((1, 2))) is not known


def test_prefix_forgets_what_an_engine_knew() -> None:
    fleet, policy = fleet_of(2), make_policy("prefix")
    known = policy.choose(fleet.candidates(MODEL), Routed((1, 2)))
    policy.forget(known)
    assert known.prefixes.match((1, 2)) == 0


def test_kv_aware_takes_the_engine_with_most_room() -> None:
    fleet, policy = fleet_of(3), make_policy("kv_aware")
    for engine, usage, waiting in zip(fleet.engines(MODEL), (0.2, 0.1, 0.1), (0, 0, 4), strict=True):
        engine.observe(Signals(time=0.0, running=1, waiting=waiting, kv_usage=usage, kv_tokens=1000), 0)
    fuller, roomy, _ = fleet.engines(MODEL)
    assert policy.choose(fleet.candidates(MODEL), Routed(prompt_tokens=50)) is roomy
    fleet.take(roomy, prompt_tokens=300)  # which no scrape has shown yet
    assert policy.choose(fleet.candidates(MODEL), Routed(prompt_tokens=50)) is fuller


def test_round_robin_takes_turns() -> None:
    fleet, policy = fleet_of(3), make_policy("round_robin")
    assert [policy.choose(fleet.candidates(MODEL), Routed()).info.id for _ in range(4)] == ["e0", "e1", "e2", "e0"]


def test_load_counts_what_other_edges_have_sent() -> None:
    fleet = fleet_of(2)
    busy, idle = fleet.engines(MODEL)
    own = fleet.take(idle)
    busy.observe(Signals(time=0.0, running=3, waiting=2), 0)
    idle.observe(Signals(time=0.0, running=1, waiting=0), 1)
    assert (busy.load, idle.load) == (5.0, 1.0)
    assert make_policy("least_loaded").choose([busy, idle], Routed()) is idle
    own.release()
    assert idle.load == 0


@given(place=st.integers(0, 3))
def test_removal_moves_only_the_prefixes_of_the_engine_that_left(place: int) -> None:
    fleet, policy = fleet_of(4), make_policy("prefix")
    prompts = [(group * 10, group * 10 + 1) for group in range(20)]

    def homes() -> list[str]:
        return [policy.choose(fleet.candidates(MODEL), Routed(prompt)).info.id for prompt in prompts]

    before, left = homes(), fleet.engines(MODEL)[place]
    fleet.set_engines("test", [engine.info for engine in fleet.engines() if engine is not left])
    policy.forget(left)
    after = homes()
    assert [old for old, new in zip(before, after, strict=True) if old != new] == [left.info.id] * before.count(
        left.info.id
    )
    fleet.set_engines("test", [engine.info for engine in fleet.engines()] + [left.info])
    returned = next(engine for engine in fleet.engines() if engine.info.id == left.info.id)
    assert all(returned.prefixes.match(prompt) == 0 for prompt in prompts)
