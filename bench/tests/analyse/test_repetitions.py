from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_bench.analyse.repetitions import Estimate, estimate_figures, mean_interval, repetitions_needed
from llm_bench.results.result import Result

MakeResult = Callable[..., Result]


def test_the_interval_is_the_textbook_one() -> None:
    """Mean 5, s = 1, t(0.975, 2) = 4.3027: 5 +- 4.3027 / sqrt(3)."""
    estimate = mean_interval([4.0, 5.0, 6.0])

    assert (estimate.value, estimate.count) == (5.0, 3)
    assert estimate.low == pytest.approx(5 - 2.4842, abs=1e-4)
    assert estimate.half_width == pytest.approx(2.4842, abs=1e-4)


def test_one_run_has_no_interval() -> None:
    assert mean_interval([3.0]) == Estimate(3.0, None, None, 1)
    assert mean_interval([3.0]).half_width is None
    with pytest.raises(ValueError, match="no values"):
        mean_interval([])


@given(values=st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=30))
def test_an_interval_holds_its_mean(values: list[float]) -> None:
    estimate = mean_interval(values)

    assert estimate.low is not None
    assert estimate.high is not None
    assert estimate.low <= estimate.value <= estimate.high


@pytest.mark.parametrize("count", [3, 5, 10])
def test_intervals_cover_the_truth_95_times_in_100(count: int) -> None:
    trials = np.random.default_rng(count).normal(10, 2, size=(1000, count))

    intervals = [mean_interval(trial.tolist()) for trial in trials]

    assert 0.93 <= sum((one.low or 0) <= 10 <= (one.high or 0) for one in intervals) / 1000 <= 0.97


def test_figures_of_several_runs(make_result: MakeResult) -> None:
    runs = [make_result(waits={"chat": wait}).summary for wait in (0.2, 0.3, 0.4)]

    estimates = estimate_figures(runs)

    assert estimates["chat.ttft_p50"].value == pytest.approx(0.3)
    assert estimates["ttft_p50"].high == pytest.approx(0.3 + 4.3027 * 0.1 / np.sqrt(3), abs=1e-4)
    assert estimates["slo_attainment"] == Estimate(1.0, 1.0, 1.0, 3)


def test_repetitions_that_a_precision_takes() -> None:
    """1% of spread: two runs leave 12.7 x 0.01 / sqrt 2 = 9%, five leave 2.776 x 0.01 / sqrt 5 = 1.2%."""
    values = [0.99, 1.0, 1.01]

    assert repetitions_needed(values, 0.10) == 2
    assert repetitions_needed(values, 0.013) == 5
    assert 380 <= repetitions_needed(values, 0.001) <= 410
