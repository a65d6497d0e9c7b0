from __future__ import annotations

import pytest

from llm_gateway.rate import HORIZON, ServiceRate


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_nothing_served_is_a_rate_of_zero() -> None:
    assert ServiceRate(Clock()).per_second() == 0.0


@pytest.mark.parametrize("seconds", [10, 300])
def test_a_steady_rate_is_found_early_and_late(seconds: int) -> None:
    clock = Clock()
    rate = ServiceRate(clock)
    for _ in range(seconds * 4):
        clock.now += 0.25
        rate.completed()
    assert rate.per_second() == pytest.approx(4.0, rel=0.05)


def test_an_old_rate_is_forgotten() -> None:
    clock = Clock()
    rate = ServiceRate(clock)
    for _ in range(1000):
        clock.now += 0.1
        rate.completed()
    clock.now += 5 * HORIZON
    assert rate.per_second() < 0.1
