import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_bench.workload.lengths import (
    EmpiricalLengths,
    FixedLengths,
    LognormalLengths,
    NormalLengths,
    RecordedLengths,
    UniformLengths,
)


def test_fixed_lengths_are_all_the_same() -> None:
    assert FixedLengths(kind="fixed", tokens=7).draw(3, np.random.default_rng(0)).tolist() == [7, 7, 7]


@given(low=st.integers(1, 500), width=st.integers(0, 500), seed=st.integers(0, 2**32 - 1))
def test_uniform_lengths_stay_within_their_bounds(low: int, width: int, seed: int) -> None:
    lengths = UniformLengths(kind="uniform", low=low, high=low + width)

    drawn = lengths.draw(200, np.random.default_rng(seed))

    assert drawn.min() >= low
    assert drawn.max() <= low + width == lengths.longest()


def test_uniform_lengths_reach_both_ends_and_have_the_mean() -> None:
    drawn = UniformLengths(kind="uniform", low=1, high=5).draw(10_000, np.random.default_rng(1))

    assert set(drawn.tolist()) == {1, 2, 3, 4, 5}
    assert abs(drawn.mean() - 3) < 0.06  # 4 standard errors of sqrt(2 / 10,000)


def test_lognormal_lengths_have_the_median_and_spread_and_are_clipped() -> None:
    drawn = LognormalLengths(kind="lognormal", median=200, sigma=0.5, low=100, high=1000).draw(
        20_000, np.random.default_rng(2)
    )

    assert abs(np.median(drawn) - 200) < 3
    assert abs(np.quantile(drawn, 0.8413) - 200 * np.exp(0.5)) < 8  # one sigma above
    assert drawn.min() == 100
    assert drawn.max() <= 1000


def test_normal_lengths_have_mean_and_deviation_and_are_clipped() -> None:
    drawn = NormalLengths(kind="normal", mean=200, deviation=30, low=100, high=220).draw(
        20_000, np.random.default_rng(3)
    )

    assert abs(np.median(drawn) - 200) < 1.5
    assert abs(np.quantile(drawn, 0.1587) - 170) < 2  # one deviation below
    assert drawn.max() == 220


def test_empirical_lengths_come_in_their_shares() -> None:
    lengths = EmpiricalLengths(kind="empirical", values=(16, 64), weights=(3, 1))

    drawn = lengths.draw(10_000, np.random.default_rng(4))

    assert set(drawn.tolist()) == {16, 64}
    assert abs((drawn == 16).mean() - 0.75) < 0.02
    assert lengths.longest() == 64
    with pytest.raises(ValueError, match="1 weights for 2 values"):
        EmpiricalLengths(kind="empirical", values=(16, 64), weights=(3,))


def test_recorded_lengths_are_scaled_and_cut() -> None:
    lengths = RecordedLengths(kind="recorded", scale=0.5, high=40)

    assert lengths.take(np.array([1, 10, 1000])).tolist() == [1, 5, 40]
