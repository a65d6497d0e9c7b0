import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_bench.measure.stats import binomial_cdf, describe, percentile_interval, samples_needed


def test_percentiles_are_exact() -> None:
    figures = describe([float(value) for value in range(1, 102)])

    assert figures.percentiles == pytest.approx({"p50": 51.0, "p90": 91.0, "p99": 100.0})
    assert (figures.count, figures.mean, figures.min, figures.max) == (101, 51.0, 1.0, 101.0)


def test_no_samples_make_no_figures() -> None:
    figures = describe([])

    assert (figures.count, figures.p50, figures.p99, figures.mean) == (0, None, None, None)


@given(samples=st.lists(st.floats(0, 1e6), min_size=1, max_size=200))
def test_percentiles_are_those_of_numpy_in_any_order(samples: list[float]) -> None:
    assert list(describe(samples).percentiles.values()) == pytest.approx(np.percentile(samples, [50, 90, 99]).tolist())


@given(samples=st.lists(st.floats(0, 1e6), min_size=1, max_size=200))
def test_an_interval_holds_its_percentile(samples: list[float]) -> None:
    figures = describe(samples)

    for name, value in figures.percentiles.items():
        low, high = figures.intervals[name]
        assert low is None or low <= value
        assert high is None or high >= value


@pytest.mark.parametrize("probability", [0.5, 0.9, 0.99])
def test_the_binomial_is_the_textbook_one(probability: float) -> None:
    exact = np.cumsum([math.comb(30, k) * probability**k * (1 - probability) ** (30 - k) for k in range(31)])

    assert binomial_cdf(30, probability) == pytest.approx(exact, abs=1e-12)


@pytest.mark.parametrize(("p", "count"), [(50, 40), (90, 150), (99, 600)])
def test_intervals_cover_the_truth_95_times_in_100(p: int, count: int) -> None:
    """Within 3 standard errors of 1,000 trials."""
    rng = np.random.default_rng(p)
    truth = -math.log(1 - p / 100)
    trials = np.sort(rng.exponential(size=(1000, count)), axis=1)

    intervals = [percentile_interval(trial, p) for trial in trials]

    covered = sum((low is None or low <= truth) and (high is None or truth <= high) for low, high in intervals) / 1000
    assert 0.93 <= covered <= 0.97


def test_small_samples_leave_the_tail_open() -> None:
    low, high = percentile_interval(np.arange(100.0), 99)

    assert low is not None
    assert high is None


@pytest.mark.parametrize(("p", "needed"), [(50, 6), (90, 36), (99, 368)])
def test_the_number_of_samples_that_bounds_a_percentile(p: int, needed: int) -> None:
    assert samples_needed(p) == needed
    assert percentile_interval(np.arange(float(needed)), p)[1] is not None
    assert percentile_interval(np.arange(float(needed - 1)), p)[1] is None
