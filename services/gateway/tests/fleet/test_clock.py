from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from llm_gateway.fleet.clock import DRIFT, FleetClock

TRUE_OFFSET = 1_000.0


def test_the_sample_with_the_shortest_round_trip_is_kept() -> None:
    clock = FleetClock()
    clock.observe(0.0, 1.0, TRUE_OFFSET + 1.0)
    assert clock.offset == TRUE_OFFSET + 0.5
    clock.observe(2.0, 2.5, TRUE_OFFSET + 2.25)
    assert clock.offset == TRUE_OFFSET
    clock.observe(3.0, 4.0, TRUE_OFFSET + 3.0)
    assert clock.offset == TRUE_OFFSET


def test_an_old_sample_gives_way_in_time() -> None:
    clock = FleetClock()
    clock.observe(0.0, 0.001, TRUE_OFFSET)
    later = 0.002 / DRIFT
    clock.observe(later, later + 0.002, TRUE_OFFSET + later + 5.001)
    assert abs(clock.offset - TRUE_OFFSET - 5.0) < 1e-9


def test_another_redis_is_believed_at_once() -> None:
    clock = FleetClock()
    clock.observe(0.0, 0.001, TRUE_OFFSET)
    clock.forget()
    clock.observe(1.0, 2.0, 1.5)
    assert clock.offset == 0.0


SAMPLES = st.lists(st.tuples(st.floats(0, 10), st.floats(1e-4, 1), st.floats(0, 1)), min_size=1, max_size=40)


@given(SAMPLES)
def test_the_offset_is_wrong_by_half_a_round_trip_at_most(samples: list[tuple[float, float, float]]) -> None:
    """Draw gaps between calls, round trips, and the point within each at which Redis took its time."""
    clock, now, shortest = FleetClock(), 0.0, 1.0
    for gap, round_trip, where in samples:
        sent = now + gap
        now = sent + round_trip
        clock.observe(sent, now, TRUE_OFFSET + sent + where * round_trip)
        shortest = min(shortest, round_trip)
        assert abs(clock.offset - TRUE_OFFSET) <= shortest / 2 + DRIFT * now + 1e-9
