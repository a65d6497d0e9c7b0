"""The HorizontalPodAutoscaler's documented behaviour, case by case."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_deploy.autoscale.hpa import (
    Autoscaler,
    Behaviour,
    Policy,
    Rules,
    Target,
    propose,
    replicas_for,
    utilisation_replicas,
)

FREE = Rules((Policy("Percent", 10_000, 15), Policy("Pods", 1_000, 15)))
AT_ONCE = Rules((Policy("Percent", 100, 15),))


def scaler(*, up: Rules = FREE, down: Rules = AT_ONCE, least: int = 1, most: int = 100) -> Autoscaler:
    return Autoscaler(Behaviour(least, most, up, down))


@pytest.mark.parametrize(
    ("usage", "replicas", "expected"),
    [(200, 2, 2), (219, 2, 2), (221, 2, 3), (181, 2, 2), (179, 2, 2), (100, 2, 1), (1000, 2, 10), (0, 2, 0)],
)
def test_an_average_is_divided_by_the_replicas_within_a_tolerance(usage: float, replicas: int, expected: int) -> None:
    assert replicas_for(Target("average", 100), usage, replicas, ready=0) == expected


@pytest.mark.parametrize(("usage", "expected"), [(100, 4), (110, 4), (111, 4), (150, 5), (50, 2)])
def test_a_value_scales_the_pods_that_are_ready(usage: float, expected: int) -> None:
    assert replicas_for(Target("value", 100), usage, 4, ready=3) == expected


@pytest.mark.parametrize(
    ("usages", "missing", "unready", "expected"),
    [
        ([1.0, 1.0], 0, 0, 4),  # twice the target
        ([0.5, 0.5], 0, 0, 2),
        ([1.0, 1.0], 0, 2, 4),  # unready pods count as idle: 0.5 on average, as wanted
        ([0.1, 0.1], 0, 2, 1),  # no growth: they are left out
        ([1.0, 1.0], 2, 0, 4),  # without metrics: idle when it would grow
        ([0.1, 0.1], 2, 0, 4),  # and full when it would shrink, which turns the direction round
        ([], 2, 1, 3),
    ],
)
def test_utilisation_with_missing_and_unready_pods(
    usages: list[float], missing: int, unready: int, expected: int
) -> None:
    assert utilisation_replicas(usages, missing, unready, 0.5) == expected


@pytest.mark.parametrize(
    ("proposals", "expected"), [([3, 5], 5), ([3, None], None), ([6, None], 6), ([None], None), ([4, None], 4)]
)
def test_a_missing_metric_lets_the_fleet_grow_and_not_shrink(proposals: list[int | None], expected: int | None) -> None:
    assert propose(4, proposals) == expected


def test_without_any_metric_nothing_changes() -> None:
    assert scaler().decide(0, 5, None) == 5


def test_bounds_hold_even_without_metrics() -> None:
    assert scaler(least=2).decide(0, 1, None) == 2
    assert scaler(most=8).decide(0, 12, None) == 8
    assert scaler(most=8).decide(0, 4, 20) == 8


def test_up_the_more_generous_policy_counts_and_periods_are_remembered() -> None:
    up = Rules((Policy("Percent", 100, 60), Policy("Pods", 4, 60)))
    one = scaler(up=up)
    assert one.decide(0, 1, 50) == 5, "4 pods are more than 100%"
    assert one.decide(30, 5, 50) == 5, "the minute is used up"
    assert one.decide(61, 5, 50) == 10, "100% are more than 4 pods"


def test_down_one_pod_a_period_after_the_window() -> None:
    one = scaler(down=Rules((Policy("Pods", 1, 120),), window=300))
    assert one.decide(0, 6, 6) == 6
    assert one.decide(150, 6, 2) == 6, "6 was recommended within the window"
    assert one.decide(301, 6, 2) == 5
    assert one.decide(360, 5, 2) == 5
    assert one.decide(422, 5, 2) == 4


def test_up_the_least_recommendation_of_the_window_counts() -> None:
    one = scaler(up=Rules(FREE.policies, window=60))
    assert one.decide(0, 2, 2) == 2
    assert one.decide(30, 2, 9) == 2
    assert one.decide(61, 2, 8) == 8


def test_select_min_and_disabled() -> None:
    policies = (Policy("Percent", 100, 60), Policy("Pods", 1, 60))
    assert scaler(up=Rules(policies, select="Min")).decide(0, 4, 50) == 5
    assert scaler(down=Rules(policies, select="Disabled")).decide(0, 4, 1) == 4
    assert scaler(down=Rules(policies, select="Min")).decide(0, 4, 1) == 3


steps = st.lists(st.tuples(st.integers(1, 40), st.integers(0, 30)), min_size=1, max_size=40)


@given(steps)
def test_the_fleet_is_always_within_its_bounds_and_never_passes_the_recommendations(
    found: list[tuple[int, int]],
) -> None:
    one = scaler(up=Rules((Policy("Pods", 3, 30),)), down=Rules((Policy("Pods", 1, 60),), window=90), least=2, most=20)
    now, replicas = 0.0, 4
    for seconds, desired in found:
        now += seconds
        after = one.decide(now, replicas, desired)
        assert 2 <= after <= 20
        assert after >= min(replicas, max(desired, 2)), "never below what is asked for now"
        assert after <= max(replicas, desired), "never above it"
        replicas = after
