import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_bench.analyse.t_distribution import t_quantile, two_sided_p


@pytest.mark.parametrize(
    ("probability", "dof", "expected"),
    [(0.975, 1, 12.7062), (0.975, 2, 4.3027), (0.975, 5, 2.5706), (0.95, 9, 1.8331), (0.995, 30, 2.75)],
)
def test_quantiles_are_those_of_the_tables(probability: float, dof: int, expected: float) -> None:
    assert t_quantile(probability, dof) == pytest.approx(expected, abs=2e-4)


def test_many_degrees_of_freedom_are_the_normal_distribution() -> None:
    assert t_quantile(0.975, 10_000) == pytest.approx(1.96, abs=1e-3)


@given(t=st.floats(0, 50), dof=st.integers(1, 200))
def test_the_p_value_undoes_the_quantile(t: float, dof: int) -> None:
    p = two_sided_p(t, dof)

    assert 0 <= p <= 1
    assert two_sided_p(-t, dof) == p
    if p > 1e-9:
        assert t_quantile(1 - p / 2, dof) == pytest.approx(t, abs=1e-4, rel=1e-4)


@pytest.mark.parametrize("dof", [1, 2, 3, 8])
def test_the_tail_is_that_of_a_simulation(dof: int) -> None:
    rng = np.random.default_rng(dof)
    samples = rng.normal(size=100_000) / np.sqrt(rng.chisquare(dof, size=100_000) / dof)

    assert two_sided_p(1.5, dof) == pytest.approx(float((np.abs(samples) > 1.5).mean()), abs=0.006)


def test_the_ends() -> None:
    assert two_sided_p(0.0, 3) == 1.0
    assert two_sided_p(math.inf, 3) == 0.0
    with pytest.raises(ValueError, match="at least 1 degree of freedom, not 0"):
        two_sided_p(1.0, 0)
