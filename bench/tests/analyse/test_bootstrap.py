import numpy as np
import pytest

from llm_bench.analyse.bootstrap import RESAMPLES, Values, ratio_interval, resample


def median(values: Values) -> Values:
    return np.asarray(np.median(values, axis=-1))


def test_intervals_of_a_ratio_of_medians_cover_the_truth_95_times_in_100() -> None:
    rng = np.random.default_rng(1)

    trials = [ratio_interval(rng.exponential(1, 150), rng.exponential(2, 150), median, rng) for _ in range(500)]

    assert 0.93 <= sum((one.low or 0) <= 2 <= (one.high or 0) for one in trials) / 500 <= 0.97


def test_the_value_is_that_of_the_samples_themselves() -> None:
    estimate = ratio_interval(np.full(10, 2.0), np.full(20, 3.0), median, np.random.default_rng(0))

    assert (estimate.value, estimate.low, estimate.high, estimate.count) == (1.5, 1.5, 1.5, 10)


@pytest.mark.parametrize("count", [1, 2, 10, 1000])
def test_resamples_are_as_long_as_the_sample_and_hold_runs_of_neighbours(count: int) -> None:
    def neighbours(values: Values) -> Values:
        assert values.shape == (RESAMPLES, count)
        return np.asarray((np.diff(values, axis=-1) == 1).mean(axis=-1)) if count > 1 else values[:, 0]

    share = resample(np.arange(float(count)), neighbours, np.random.default_rng(0))

    if count == 1000:
        assert share.mean() == pytest.approx(0.9, abs=0.01)  # blocks of ten: nine steps in ten
