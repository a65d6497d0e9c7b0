from __future__ import annotations

import pytest

from llm_measure.stats import holm


@pytest.mark.parametrize(
    ("p_values", "rejected"),
    [
        ([0.01], [True]),
        ([0.06], [False]),
        ([0.04, 0.04], [False, False]),  # the smaller of two has to be at most 0.025
        ([0.04, 0.02], [True, True]),  # 0.02 <= 0.05 / 2, then 0.04 <= 0.05
        ([0.5, 0.01, 0.03], [False, True, False]),  # 0.03 > 0.05 / 2 ends the walk
        ([], []),
    ],
)
def test_holm_steps_down_from_the_smallest(p_values: list[float], rejected: list[bool]) -> None:
    assert holm(p_values, 0.05) == rejected
