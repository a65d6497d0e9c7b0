"""Calibration: the first prediction of each thing against what was measured."""

from __future__ import annotations

import pytest

from llm_course.progress.calibration import calibration, ratio
from llm_course.progress.log import Event


def predictions(*pairs: tuple[object, object], name: str = "n") -> list[Event]:
    return [
        Event(
            at=f"2026-03-01T09:{i:02}:00.000Z",
            kind="prediction",
            key="p",
            facts={"name": f"{name}{i}", "predicted": p, "actual": a},
        )
        for i, (p, a) in enumerate(pairs)
    ]


def test_shares_within_bounds() -> None:
    found = calibration(predictions((10, 10), (11, 10), (12.5, 10), (20, 10), (30, 10)))
    assert (found.count, found.within_10, found.within_25, found.within_2x) == (5, 0.4, 0.6, 0.8)
    assert found.too_high == 0.6


def test_the_first_prediction_counts() -> None:
    assert calibration(predictions((30, 10)) + predictions((10, 10))).within_10 == 0


def test_the_curve_goes_ten_by_ten() -> None:
    assert calibration(predictions(*[(30, 10)] * 10, *[(10, 10)] * 5)).curve == [0.0, 1.0]
    assert calibration([]).curve == []


@pytest.mark.parametrize(
    ("predicted", "actual", "expected"),
    [(0, 0, 1), (5, 0, 0), (-5, 10, 0), ("a", "a", 1), ("a", "b", 0), (None, 3, 0), (6, 3, 2)],
)
def test_ratios(predicted: object, actual: object, expected: float) -> None:
    assert ratio(predicted, actual) == expected
