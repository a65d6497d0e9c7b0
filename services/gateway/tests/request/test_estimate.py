from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_gateway.request.estimate import MAX_TENANTS, UNKNOWN_MAX_TOKENS, OutputEstimator, PromptEstimator


def test_knowing_nothing_it_expects_what_was_asked_for() -> None:
    estimator = OutputEstimator()
    assert estimator.predict("batch", "a", 100) == (100, 100)
    assert estimator.predict("batch", "a", None) == (UNKNOWN_MAX_TOKENS, UNKNOWN_MAX_TOKENS)


def test_one_observation_counts_one_ninth_for_the_class_and_again_for_the_tenant() -> None:
    estimator = OutputEstimator()
    estimator.observe("batch", "a", 10)
    assert estimator.predict("batch", "other", 100).mean == round(100 - 90 / 9) == 90
    assert estimator.predict("batch", "a", 100).mean == round(90 - 80 / 9) == 81
    assert estimator.predict("standard", "a", 100).mean == 100


def test_it_learns_the_mean_and_the_percentile_of_each_tenant() -> None:
    estimator, random_ = OutputEstimator(), random.Random(7)
    for _ in range(3000):
        estimator.observe("batch", "short", random_.randint(1, 100))
        estimator.observe("batch", "long", random_.randint(301, 500))
    short, long = (estimator.predict("batch", tenant, 1000) for tenant in ("short", "long"))
    assert short.mean == pytest.approx(50, rel=0.15)
    assert short.high == pytest.approx(90, rel=0.15)
    assert long.mean == pytest.approx(400, rel=0.05)
    assert long.high == pytest.approx(480, rel=0.1)
    unseen = estimator.predict("batch", "new", 1000)
    assert unseen.mean == pytest.approx(225, rel=0.2), "a new tenant is taken to be like its class"


def test_it_follows_when_lengths_change() -> None:
    estimator = OutputEstimator()
    for tokens in [400] * 1000 + [20] * 1500:
        estimator.observe("batch", "a", tokens)
    prediction = estimator.predict("batch", "a", 1000)
    assert prediction.mean == pytest.approx(20, abs=6)
    assert prediction.high == pytest.approx(20, abs=8)


def test_tenants_beyond_the_bound_are_forgotten_the_least_recently_used_first() -> None:
    estimator = OutputEstimator()
    for index in range(MAX_TENANTS):
        estimator.observe("batch", f"t{index}", 500 if index < 2 else 5)
    estimator.observe("batch", "t0", 500)
    estimator.observe("batch", "one more", 5)
    unseen = estimator.predict("batch", "nobody", 1000)
    assert len(estimator._tenants) == MAX_TENANTS
    assert estimator.predict("batch", "t0", 1000).mean > unseen.mean
    assert estimator.predict("batch", "t1", 1000) == unseen


@given(
    seen=st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 100_000)), max_size=100),
    max_tokens=st.one_of(st.none(), st.integers(-5, 100_000)),
)
def test_predictions_stay_between_one_token_and_what_was_asked_for(
    seen: list[tuple[str, int]], max_tokens: int | None
) -> None:
    estimator = OutputEstimator()
    for tenant, tokens in seen:
        estimator.observe("batch", tenant, tokens)
    mean, high = estimator.predict("batch", "a", max_tokens)
    assert 1 <= mean <= high <= max(1, UNKNOWN_MAX_TOKENS if max_tokens is None else max_tokens)


def test_the_prompt_starts_at_four_bytes_a_token_and_learns_the_ratio() -> None:
    estimator = PromptEstimator()
    assert estimator.predict(400) == 100
    for _ in range(1000):
        estimator.observe(600, 200)
    assert estimator.predict(600) == pytest.approx(200, rel=0.02)


@given(
    seen=st.lists(st.tuples(st.integers(0, 10_000_000), st.integers(0, 1_000_000))), body_bytes=st.integers(0, 10**8)
)
def test_a_prompt_has_at_least_one_token(seen: list[tuple[int, int]], body_bytes: int) -> None:
    estimator = PromptEstimator()
    for size, tokens in seen:
        estimator.observe(size, tokens)
    assert estimator.predict(body_bytes) >= 1


def test_requests_without_usage_teach_nothing() -> None:
    estimator = PromptEstimator()
    estimator.observe(1000, 0)
    estimator.observe(0, 1000)
    assert estimator.predict(400) == 100
