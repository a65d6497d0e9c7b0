import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_report.percentile import percentile


def by_hand(samples: list[float], p: float) -> float:
    """Hyndman and Fan's type 7, as the docstring states it."""
    ordered = sorted(samples)
    place = (len(ordered) - 1) * p / 100
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


@given(st.lists(st.floats(-1e6, 1e6), min_size=1), st.floats(0, 100))
def test_it_is_the_definition_in_any_order(samples: list[float], p: float) -> None:
    assert percentile(samples, p) == pytest.approx(by_hand(samples, p), rel=1e-9, abs=1e-6)


def test_the_p99_of_few_samples_lies_between_the_two_largest() -> None:
    assert percentile(np.arange(1.0, 61.0), 99) == pytest.approx(59.41)


def test_of_nothing_there_is_no_percentile() -> None:
    with pytest.raises(ValueError, match="no samples"):
        percentile([], 50)
