from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from llm_gateway.engines.limits import AdaptiveLimit, LimitSettings
from llm_proxy.upstream.signals import Signals

ADAPTIVE = LimitSettings(kind="adaptive", min=2, max=256)


def limit(start: int) -> AdaptiveLimit:
    return AdaptiveLimit(ADAPTIVE, start)


def well(running: float) -> Signals:
    return Signals(time=0.0, running=running, waiting=0)


@pytest.mark.parametrize(
    ("signals", "in_flight", "after"),
    [
        (well(20), 20, 20.8),
        (well(19), 19, 20.0),
        (Signals(time=0.0, running=10, waiting=1), 20, 20.8),
        (Signals(time=0.0, running=10, waiting=11), 20, 18.0),
        (Signals(time=0.0, running=15, waiting=6), 20, 19.0),
        (Signals(time=0.0, running=0, waiting=20), 20, 18.0),
        (Signals(time=0.0, running=20, waiting=0, kv_usage=1.0), 20, 19.6),
        (Signals(time=0.0, running=20, waiting=0, kv_usage=0.9), 20, 20.8),
    ],
)
def test_one_step(signals: Signals, in_flight: int, after: float) -> None:
    moved = limit(20)
    moved.observe(signals, None, in_flight)
    assert moved._limit == pytest.approx(after)


def test_ttft_per_prompt_token_takes_slots_away_only_under_load() -> None:
    slow, idle = limit(20), limit(20)
    for sample in [0.001] * 5 + [0.004] * 5:
        slow.observe(well(15), sample, 15)
        idle.observe(well(5), sample, 5)
    assert int(slow._limit) < 20
    assert int(idle._limit) == 20


def test_it_is_back_at_its_start_when_signals_are_lost() -> None:
    one = limit(20)
    for _ in range(10):
        one.observe(Signals(time=0.0, running=5, waiting=15), None, 20)
    assert one.reset() == 20
    assert one.observe(well(5), None, 5) == 20


def test_min_and_max_are_in_order() -> None:
    with pytest.raises(ValidationError, match="min 5 is above max 4"):
        LimitSettings(min=5, max=4)


class ModelledEngine:
    """A model of an engine: `slots` sequences per batch, a finite KV cache, and one prompt after the other."""

    def __init__(self, slots: int, kv_requests: float = 1e9) -> None:
        self.slots = slots
        self.kv_requests = kv_requests

    def signals(self, in_flight: int) -> tuple[Signals, float]:
        running = min(in_flight, self.slots, int(self.kv_requests))
        waiting = in_flight - running
        usage = min(1.0, running / self.kv_requests)
        return Signals(time=0.0, running=running, waiting=waiting, kv_usage=usage), 0.001 * (1 + waiting / self.slots)


def settle(one: AdaptiveLimit, engine: ModelledEngine, start: int, demand: random.Random | None = None) -> list[int]:
    """Return the limit after each of 400 scrapes. Demand is unbounded or varies at random."""
    seen = [start]
    for _ in range(400):
        wanted = seen[-1] if demand is None else min(seen[-1], demand.randrange(engine.slots, 3 * engine.slots))
        signals, slowness = engine.signals(wanted)
        seen.append(one.observe(signals, slowness, wanted))
    return seen


@pytest.mark.parametrize("slots", [4, 16, 64, 200])
@pytest.mark.parametrize("start", [2, 250])
def test_in_a_closed_loop_it_finds_the_engines_capacity_from_below_and_above(slots: int, start: int) -> None:
    seen = settle(limit(start), ModelledEngine(slots), start)
    near = range(slots, slots + 4 + slots // 8)
    assert all(value in near for value in seen[-100:]), (min(seen[-100:]), max(seen[-100:]))


@pytest.mark.parametrize("start", [2, 250])
def test_a_kv_cache_that_is_smaller_than_the_batch_is_the_capacity(start: int) -> None:
    seen = settle(limit(start), ModelledEngine(slots=64, kv_requests=20.0), start)
    assert all(17 <= value <= 22 for value in seen[-100:]), (min(seen[-100:]), max(seen[-100:]))


@pytest.mark.parametrize("seed", range(5))
def test_demand_that_comes_and_goes_does_not_drive_it_away(seed: int) -> None:
    seen = settle(limit(16), ModelledEngine(16), 16, random.Random(seed))
    assert all(16 <= value <= 22 for value in seen[-100:])


FLOATS = st.floats(0, 1e6)


@given(
    st.lists(
        st.tuples(
            st.builds(Signals, time=FLOATS, running=FLOATS, waiting=FLOATS, kv_usage=st.floats(0, 1)),
            st.none() | st.floats(1e-9, 1e6),
            st.integers(0, 300),
        )
    ),
    st.integers(2, 256),
)
def test_it_stays_between_min_and_max(samples: list[tuple[Signals, float | None, int]], start: int) -> None:
    one = limit(start)
    for signals, slowness, in_flight in samples:
        assert 2 <= one.observe(signals, slowness, in_flight) <= 256
