"""How well the learner predicts: the first prediction of each thing, against what was measured."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from llm_course.progress.log import Event

GROUP = 10
"""Predictions in one point of the curve."""


@dataclass(frozen=True, slots=True)
class Calibration:
    count: int
    within_10: float
    """Share of predictions within 10% of what was measured; NaN never: 0 without predictions."""
    within_25: float
    within_2x: float
    too_high: float
    """Share that were more than 10% too high; as many again may have been too low."""
    curve: list[float]
    """Share within 25%, for each GROUP predictions in a row: a learner who calibrates rises."""


def calibration(events: Iterable[Event]) -> Calibration:
    """`events`: those of kind `prediction`, oldest first."""
    first: dict[tuple[str, str], Event] = {}
    for event in events:
        first.setdefault((event.key, str(event.facts.get("name"))), event)
    ratios = [ratio(event.facts.get("predicted"), event.facts.get("actual")) for event in first.values()]
    close = [_within(each, 0.25) for each in ratios]
    return Calibration(
        count=len(ratios),
        within_10=_share([_within(each, 0.1) for each in ratios]),
        within_25=_share(close),
        within_2x=_share([0.5 <= each <= 2 for each in ratios]),
        too_high=_share([each > 1.1 for each in ratios]),
        curve=[_share(close[start : start + GROUP]) for start in range(0, len(close), GROUP)],
    )


def ratio(predicted: object, actual: object) -> float:
    """Return predicted over actual: 1 if equal, 0 for words that differ or a sign that is wrong."""
    if predicted == actual:
        return 1.0
    numbers = isinstance(predicted, int | float) and isinstance(actual, int | float)
    if not numbers or not actual:
        return 0.0
    assert isinstance(predicted, int | float)
    assert isinstance(actual, int | float)
    return max(0.0, predicted / actual)


def _within(ratio: float, tolerance: float) -> bool:
    return abs(ratio - 1) <= tolerance + 1e-9


def _share(flags: list[bool]) -> float:
    return sum(flags) / len(flags) if flags else 0.0
