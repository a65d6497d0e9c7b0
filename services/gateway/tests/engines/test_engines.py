from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_gateway.classes import DEFAULT_CLASSES
from llm_gateway.engines import BalancingName, BreakerSettings, Engine, EnginePool, LimitSettings, Permit
from llm_gateway.engines.settings import EngineSettings
from llm_gateway.waiting import Waiting
from llm_proxy.upstream.signals import Signals

STANDARD = DEFAULT_CLASSES[1]


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def pool(
    *limits: int,
    balancing: BalancingName = "least_loaded",
    kv_tokens: int | None = None,
    clock: Clock | None = None,
    adaptive: bool = False,
    gone: list[str] | None = None,
) -> EnginePool:
    made = EnginePool(
        [
            EngineSettings(url=f"http://e{index}", max_in_flight=limit, kv_tokens=kv_tokens)
            for index, limit in enumerate(limits)
        ],
        balancing=balancing,
        breaker=BreakerSettings(consecutive_failures=2, open_seconds=5.0),
        limit=LimitSettings(kind="adaptive") if adaptive else None,
        clock=clock or Clock(),
        source=random.Random(0),
        on_removed=(lambda name: None) if gone is None else gone.append,
    )
    for engine in made.engines:
        made.mark_up(engine)
    return made


def request(prompt: int = 0, output: int = 0) -> Waiting:
    return Waiting(STANDARD, 0.0, prompt_tokens=prompt, output_tokens=output)


def take(from_pool: EnginePool, one: Waiting | None = None) -> Permit:
    permit = from_pool.take(one or request())
    assert permit is not None
    return permit


@contextmanager
def changes(of_pool: EnginePool) -> Iterator[list[str]]:
    seen: list[str] = []
    of_pool.on_change.subscribe(lambda: seen.append("change"))
    yield seen


def test_a_permit_gives_its_slot_back_exactly_once() -> None:
    one = pool(2)
    permit = take(one)
    with permit as engine:
        assert engine.in_flight == 1
        permit.release()
    permit.release()
    assert engine.in_flight == 0


def test_every_listener_hears_a_change_and_a_pause_ends_with_one_for_each() -> None:
    one = pool(1)
    with changes(one) as first, changes(one) as second:
        take(one).release()
        assert (first, second) == (["change"], ["change"])
        with one.paused():
            one.mark_down(one.engines[0], "x")
            one.mark_up(one.engines[0])
            assert (first, second) == (["change"], ["change"])
        assert (first, second) == (["change"] * 2, ["change"] * 2)
        with pytest.raises(RuntimeError), one.paused():
            raise RuntimeError
        one.mark_down(one.engines[0], "x")
        assert (first, second) == (["change"] * 4, ["change"] * 4)


def test_a_permit_comes_back_from_a_block_that_raises() -> None:
    one = pool(1)
    with pytest.raises(RuntimeError), take(one):
        raise RuntimeError
    assert one.engines[0].in_flight == 0


def test_slots_are_bounded_and_the_least_loaded_share_goes_first() -> None:
    both = pool(1, 3)
    for _ in range(4):
        take(both)
    assert both.take(request()) is None
    assert not both.has_free_slot()
    assert [engine.in_flight for engine in both.engines] == [1, 3]


def test_equally_loaded_engines_take_turns() -> None:
    both = pool(8, 8)
    names = []
    for _ in range(4):
        with take(both) as engine:
            names.append(engine.name)
    assert set(names[:2]) == set(names[2:]) == {"e0:80", "e1:80"}


def test_an_engine_that_failed_the_request_is_the_last_choice() -> None:
    both = pool(2, 2)
    failed = both.engines[0]
    again = request()
    again.tried.append(failed.name)
    assert [take(both, again).engine.name for _ in range(3)] == ["e1:80", "e1:80", "e0:80"]


def test_an_engine_that_is_down_gets_nothing_and_says_why() -> None:
    both = pool(1, 1)
    both.mark_down(both.engines[0], "connection refused")
    assert take(both).engine is both.engines[1]
    assert both.take(request()) is None
    assert both.why_down() == "e0:80: connection refused"


def test_changes_are_announced() -> None:
    one = pool(1)
    with changes(one) as seen:
        take(one).release()
        one.mark_down(one.engines[0], "x")
        one.mark_down(one.engines[0], "y")
        one.mark_up(one.engines[0])
        assert seen == ["change"] * 3


def test_a_request_larger_than_what_is_left_of_the_kv_budget_waits_for_an_engine_to_be_idle() -> None:
    one = pool(4, kv_tokens=100)
    small, large = request(30, 30), request(500, 500)
    permit = take(one, small)
    assert one.has_free_slot()
    assert not one.has_room(large)
    assert one.take(large) is None
    permit.release()
    assert one.has_room(large)
    assert take(one, large).cost == 1000


def test_the_budget_follows_the_engines_own_capacity_unless_it_is_configured() -> None:
    clock = Clock()
    unknown, known = pool(4, clock=clock), pool(4, kv_tokens=100, clock=clock)
    for one in (unknown, known):
        with changes(one) as seen:
            one.observe(one.engines[0], Signals(time=clock.now, running=0, waiting=0, kv_tokens=64))
            assert len(seen) == (one is unknown)
    assert (unknown.engines[0].budget.capacity, known.engines[0].budget.capacity) == (64, 100)


def test_without_signals_an_adaptive_limit_is_the_configured_one() -> None:
    one = pool(8, adaptive=True)
    engine = one.engines[0]
    for _ in range(5):
        one.observe(engine, Signals(time=0.0, running=4, waiting=40))
    assert engine.max_in_flight < 8
    with changes(one) as seen:
        one.observe(engine, None)
        assert (engine.max_in_flight, engine.signals, seen) == (8, None, ["change"])


def test_a_breaker_opens_lets_one_request_through_and_closes_again() -> None:
    clock = Clock()
    one = pool(4, clock=clock)
    engine = one.engines[0]
    with changes(one) as seen:
        one.failed(engine)
        one.answered(engine, 503)
        assert seen == ["change"]
    assert not one.any_up()
    assert one.take(request()) is None
    assert one.why_down() == "e0:80: circuit breaker open after failures"
    clock.now += 5.0
    assert one.any_up()
    probe = take(one)
    assert one.take(request()) is None
    one.answered(engine, 200)
    assert take(one).engine is engine
    probe.release()


def test_a_probe_whose_client_hung_up_leaves_room_for_the_next() -> None:
    clock = Clock()
    one = pool(4, clock=clock)
    for _ in range(2):
        one.failed(one.engines[0])
    clock.now += 5.0
    take(one).release()
    assert one.has_free_slot()


def test_health_turns_an_open_breaker_half_open_once_the_engine_was_down() -> None:
    one = pool(4)
    engine = one.engines[0]
    for _ in range(2):
        one.failed(engine)
    one.mark_down(engine, "connection refused")
    one.mark_up(engine)
    assert take(one).probe
    assert one.take(request()) is None


def test_a_client_error_neither_counts_nor_heals() -> None:
    one = pool(1)
    engine = one.engines[0]
    one.failed(engine)
    for status in (400, 404, 422, 429):
        one.answered(engine, status)
    assert one.any_up()
    one.failed(engine)
    assert not one.any_up()


def test_an_engine_added_takes_requests_once_it_is_up() -> None:
    one = pool(1)
    take(one)
    added = one.add(EngineSettings(url="http://new"))
    assert one.take(request()) is None
    one.mark_up(added)
    assert take(one).engine is added
    with pytest.raises(ValueError, match="an engine named new:80 exists already"):
        one.add(EngineSettings(url="http://new"))


async def test_an_engine_removed_finishes_what_it_has_and_gets_nothing_more() -> None:
    gone: list[str] = []
    both = pool(4, 4, gone=gone)
    permits = [take(both) for _ in range(4)]
    drained = both.remove("e0:80")
    assert {take(both).engine.name for _ in range(2)} == {"e1:80"}
    held = [permit for permit in permits if permit.engine.name == "e0:80"]
    held[0].release()
    assert not drained.done()
    held[1].release()
    await drained
    assert gone == ["e0:80"]
    with pytest.raises(KeyError):
        both.remove("e0:80")


async def test_an_idle_engine_is_gone_at_once_and_its_name_is_free() -> None:
    one = pool(1)
    removed = one.engines[0]
    with changes(one) as seen:
        await one.remove("e0:80")
        assert seen == ["change"], "who waits has to hear that there is nothing to wait for"
    assert not one.any_up()
    assert one.why_down() == "no engine is configured"
    one.mark_up(removed)
    assert not removed.up, "a probe that was under way does not bring it back"
    one.add(EngineSettings(url="http://e0"))


async def test_a_name_may_be_taken_again_while_its_last_bearer_drains() -> None:
    gone: list[str] = []
    one = pool(1, gone=gone)
    permit = take(one)
    drained = one.remove("e0:80")
    one.mark_up(one.add(EngineSettings(url="http://e0")))
    permit.release()
    await drained
    assert gone == [], "its series belong to the new one"


STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            ["take", "take", "take", "release", "down", "up", "fail", "ok", "wait", "add", "remove", "lost"]
        ),
        st.integers(0, 400),
    ),
    max_size=100,
)


@given(STEPS, st.sampled_from(["least_loaded", "p2c", "session", "prefix"]))
def test_whatever_happens_permits_are_what_is_in_flight(steps: list[tuple[str, int]], balancing: BalancingName) -> None:
    asyncio.run(_check_permits(steps, balancing))


async def _check_permits(steps: list[tuple[str, int]], balancing: BalancingName) -> None:
    clock = Clock()
    some = pool(1, 3, balancing=balancing, kv_tokens=500, clock=clock)
    every, held = list(some.engines), list[Permit]()
    for kind, number in steps:
        engine = some.engines[number % len(some.engines)] if some.engines else None
        if kind == "take":
            wanted = Waiting(STANDARD, 0.0, prompt_tokens=number, output_tokens=7, session=str(number % 5))
            wanted.prefix = tuple(range(number % 9))
            room = some.has_room(wanted)
            permit = some.take(wanted)
            assert (permit is not None) is room
            if permit is not None:
                assert permit.engine.up
                assert permit.engine in some.engines
                assert permit.engine.in_flight <= permit.engine.max_in_flight
                budget = permit.engine.budget
                assert budget.used <= budget.capacity or permit.engine.in_flight == 1
                if number % 2:
                    permit.started_stream()
                held.append(permit)
        elif kind == "release" and held:
            held.pop(number % len(held)).release()
        elif kind == "wait":
            clock.now += number / 100
        elif kind == "add" and all(one.name != f"n{number % 3}:80" for one in some.engines):
            every.append(some.add(EngineSettings(url=f"http://n{number % 3}", max_in_flight=2, kv_tokens=500)))
        elif engine is not None:
            _happen(some, engine, kind)
        for one in every:
            mine = [permit for permit in held if permit.engine is one]
            assert one.in_flight == len(mine)
            assert one.budget.used == sum(permit.cost for permit in mine)
            assert one.streams == sum(permit.streams for permit in mine)
            assert (one in some.draining) is (one not in some.engines and bool(mine))
    for permit in held:
        permit.release()
    assert [(one.in_flight, one.budget.used, one.streams, one.breaker.probing) for one in every] == [
        (0, 0, 0, 0)
    ] * len(every)
    assert not some.draining


def _happen(to_pool: EnginePool, engine: Engine, kind: str) -> None:
    match kind:
        case "down":
            to_pool.mark_down(engine, "x")
        case "up":
            to_pool.mark_up(engine)
        case "fail":
            to_pool.failed(engine)
        case "ok":
            to_pool.answered(engine, 200)
        case "remove":
            to_pool.remove(engine.name)
        case "lost":
            to_pool.observe(engine, None)
