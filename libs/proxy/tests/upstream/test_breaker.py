from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_proxy.upstream.breaker import Breaker, BreakerSettings, BreakerState

CLOSED, HALF_OPEN, OPEN = BreakerState.CLOSED, BreakerState.HALF_OPEN, BreakerState.OPEN


class World:
    def __init__(self, **settings: float) -> None:
        self.now = 0.0
        defaults = {"consecutive_failures": 3, "open_seconds": 5.0, "window": 10.0, "min_requests": 6}
        self.breaker = Breaker(BreakerSettings(**{**defaults, **settings}), lambda: self.now)

    def feed(self, outcomes: str) -> BreakerState:
        """Feed a breaker: `f` is a failure, `s` a success, `+` a second."""
        for outcome in outcomes:
            if outcome == "+":
                self.now += 1.0
            else:
                (self.breaker.failed if outcome == "f" else self.breaker.succeeded)()
        return self.breaker.state


@pytest.mark.parametrize(
    ("outcomes", "state"),
    [
        ("ff", CLOSED),
        ("fff", OPEN),
        ("ffsff", CLOSED),
        ("ffsfsf", OPEN),
        ("ssffsf", OPEN),
        ("sssffs", CLOSED),
        ("ffsfs+++++++++++f", CLOSED),
        ("fsfsf" + "+" * 5 + "f", OPEN),
        ("fff++++", OPEN),
        ("fff+++++", HALF_OPEN),
        ("fff++++ss", OPEN),
    ],
)
def test_it_opens_by_count_and_by_rate_and_half_opens_by_time(outcomes: str, state: BreakerState) -> None:
    assert World().feed(outcomes) is state


def half_open() -> World:
    world = World()
    assert world.feed("fff+++++") is HALF_OPEN
    return world


def test_half_open_lets_one_request_through_at_a_time() -> None:
    breaker = half_open().breaker
    assert breaker.allows()
    number = breaker.begin()
    assert not breaker.allows()
    breaker.end_probe(number)
    assert breaker.allows()


def test_its_success_closes_it_with_a_clean_record() -> None:
    world = half_open()
    world.breaker.begin()
    assert world.breaker.succeeded()
    assert world.feed("ff") is CLOSED


def test_its_failure_opens_it_for_as_long_again() -> None:
    world = half_open()
    world.breaker.begin()
    assert world.breaker.failed()
    assert world.feed("++++") is OPEN
    assert world.feed("+") is HALF_OPEN


def test_a_late_end_of_an_earlier_probe_does_not_let_a_second_one_through() -> None:
    world = half_open()
    earlier = world.breaker.begin()
    world.breaker.failed()
    world.feed("+++++")
    world.breaker.begin()
    world.breaker.end_probe(earlier)
    assert not world.breaker.allows()


def test_what_was_sent_before_it_opened_says_nothing_about_the_engine_now() -> None:
    world = half_open()
    assert world.feed("sss") is HALF_OPEN
    assert world.feed("fff") is HALF_OPEN


def test_new_evidence_ends_the_wait() -> None:
    world = World()
    world.feed("fff")
    world.breaker.half_open()
    assert world.breaker.state is HALF_OPEN


@given(st.text("fs+", max_size=200), st.integers(1, 5))
def test_fewer_failures_than_either_threshold_never_open_it(outcomes: str, in_a_row: int) -> None:
    world = World(consecutive_failures=in_a_row + 1, min_requests=1000)
    pieces, run = [], 0
    for outcome in outcomes:
        run = run + 1 if outcome == "f" else run if outcome == "+" else 0
        if run > in_a_row:
            run = 0
            outcome = "s"
        pieces.append(outcome)
    assert world.feed("".join(pieces)) is CLOSED
