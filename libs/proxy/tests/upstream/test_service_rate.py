from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_proxy.upstream.service_rate import HORIZON, PRIOR_TPOT, PRIOR_TTFT, ServiceRate


def test_before_the_first_request_the_prior_stands_for_its_time() -> None:
    assert ServiceRate(lambda: 4).per_second(output_tokens=20) == pytest.approx(4 / (PRIOR_TTFT + 20 * PRIOR_TPOT))


def test_no_slots_are_a_rate_of_zero() -> None:
    assert ServiceRate(lambda: 0).per_second() == 0.0


@pytest.mark.parametrize("requests", [20, 2000])
def test_what_was_observed_replaces_the_prior(requests: int) -> None:
    rate = ServiceRate(lambda: 8)
    for _ in range(requests):
        rate.held(2.0)
    assert rate.per_second() == pytest.approx(4.0, rel=0.05)


def test_old_observations_are_forgotten() -> None:
    rate = ServiceRate(lambda: 1)
    for seconds in [10.0] * 1000 + [0.1] * (8 * HORIZON):
        rate.held(seconds)
    assert rate.seconds_per_request() == pytest.approx(0.1, rel=0.35)


def test_replicas_share_the_slots() -> None:
    rate = ServiceRate(lambda: 8)
    alone = rate.per_second()
    rate.replicas = lambda: 4
    assert rate.per_second() == pytest.approx(alone / 4)


@given(st.lists(st.floats(0, 1e6), max_size=50), st.integers(1, 1_000_000), st.integers(1, 10_000))
def test_the_time_of_a_request_is_between_the_least_and_the_most_that_speak_for_it(
    observed: list[float], output_tokens: int, slots: int
) -> None:
    rate = ServiceRate(lambda: slots)
    for seconds in observed:
        rate.held(seconds)
    prior = PRIOR_TTFT + PRIOR_TPOT * output_tokens
    found = rate.seconds_per_request(output_tokens)
    assert min([prior, *observed]) * 0.999 <= found <= max([prior, *observed]) * 1.001
    assert 0 < rate.per_second(output_tokens) < float("inf")
