from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from llm_gateway.classes import DEFAULT_CLASSES, PriorityClass
from llm_gateway.scheduling.shedding import Shedder, SheddingSettings

INTERACTIVE, STANDARD, BATCH = DEFAULT_CLASSES
SETTINGS = SheddingSettings(start=0.5, full=1.0)


def classes(*priorities: int) -> list[PriorityClass]:
    return [
        PriorityClass(name=f"c{index}", priority=priority, ttft_target=1, tpot_target=1)
        for index, priority in enumerate(priorities)
    ]


@pytest.mark.parametrize(
    ("saturation", "standard", "batch"),
    [
        (0.0, 0.0, 0.0),
        (0.5, 0.0, 0.0),
        (2 / 3, 0.0, 0.5),
        (0.75, 0.15625, 0.84375),
        (5 / 6, 0.5, 1.0),
        (1, 1, 1),
        (9, 1, 1),
    ],
)
def test_the_lowest_class_goes_first_and_the_most_urgent_never(
    saturation: float, standard: float, batch: float
) -> None:
    shedder = Shedder(SETTINGS, DEFAULT_CLASSES)
    found = [shedder.probability(cls, saturation) for cls in (INTERACTIVE, STANDARD, BATCH)]
    assert found == pytest.approx([0.0, standard, batch])


def test_the_defaults_are_as_described() -> None:
    shedder = Shedder(SheddingSettings(), DEFAULT_CLASSES)
    assert [round(shedder.probability(cls, 1.0), 2) for cls in DEFAULT_CLASSES] == [0.0, 0.16, 0.84]


def test_classes_of_one_priority_are_treated_alike_and_one_alone_is_never_shed() -> None:
    same = classes(3, 7, 7)
    shedder = Shedder(SETTINGS, same)
    assert 0 < shedder.probability(same[1], 0.7) == shedder.probability(same[2], 0.7)
    alone = classes(3, 3)
    assert Shedder(SETTINGS, alone).admit(alone[0], 100.0)


def test_admission_follows_the_random_source() -> None:
    numbers = iter([0.49, 0.5, 0.51])
    shedder = Shedder(SETTINGS, DEFAULT_CLASSES, lambda: next(numbers))
    assert [shedder.admit(BATCH, 2 / 3) for _ in range(3)] == [False, True, True]
    assert shedder.admit(BATCH, 0.4), "where there is nothing to shed, no chance is taken"


def test_the_share_that_is_shed_is_the_probability() -> None:
    shedder = Shedder(SETTINGS, DEFAULT_CLASSES, random.Random(5).random)
    admitted = sum(shedder.admit(BATCH, 0.7) for _ in range(20_000))
    assert 1 - admitted / 20_000 == pytest.approx(shedder.probability(BATCH, 0.7), abs=0.01)


def test_start_is_below_full() -> None:
    with pytest.raises(ValidationError, match=r"start 1 must be below full 0\.9"):
        SheddingSettings(start=1.0, full=0.9)


PRIORITIES = st.lists(st.integers(-5, 5), min_size=1, max_size=6)


@given(PRIORITIES, st.floats(0, 2), st.floats(0, 2))
def test_it_is_monotone_and_without_a_cliff(priorities: list[int], one: float, other: float) -> None:
    some = classes(*priorities)
    shedder = Shedder(SETTINGS, some)
    low, high = sorted((one, other))
    slope = 0.75 * len(set(priorities)) / (SETTINGS.full - SETTINGS.start)
    for cls in some:
        before, after = shedder.probability(cls, low), shedder.probability(cls, high)
        assert 0.0 <= before <= after <= 1.0
        assert after - before <= slope * (high - low) + 1e-9


@given(PRIORITIES, st.floats(0, 2))
def test_a_less_urgent_class_is_shed_at_least_as_much(priorities: list[int], saturation: float) -> None:
    shedder = Shedder(SETTINGS, classes(*priorities))
    found = [shedder.probability(cls, saturation) for cls in classes(*sorted(priorities))]
    assert found == sorted(found)
    assert found[0] == 0.0
