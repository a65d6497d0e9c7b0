from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_quantize.errors import EvaluationError
from llm_quantize.report import ModelResult
from llm_quantize.report.judgement import (
    change_of,
    headline,
    interval,
    judge,
    pareto_front,
    recommendation,
    recommended,
)

Make = Callable[..., Any]


@pytest.fixture
def full(make_result: Make) -> ModelResult:
    return make_result("main", "full", size=4000, token_seconds=0.004)


@pytest.fixture
def one_model(full: ModelResult) -> Callable[..., str]:
    """Return the recommendation for a model from results of its methods."""

    def say(*results: ModelResult) -> str:
        (judgement,) = judge([full, *results])
        return recommendation(judgement)

    return say


def test_the_smallest_within_the_tolerance_is_recommended_with_its_reason(
    make_result: Make, one_model: Callable[..., str]
) -> None:
    said = one_model(
        make_result("main", "w8", loss=0.001, size=2000),
        make_result("main", "gptq", loss=0.03, size=1000, token_seconds=0.002),
        make_result("main", "rtn2", loss=0.5, size=500),
    )
    assert said.startswith("Use gptq for main: it is 4.00× smaller and 2.00× as fast at batch 1, and its perplexity")
    assert "changes by +3.0% (+" in said
    assert said.endswith("rtn2 is smaller still but can lose +65% of perplexity.")


def test_of_equal_sizes_the_faster_one_is_recommended(make_result: Make, full: ModelResult) -> None:
    slow = make_result("main", "a-slow", loss=0.01, size=1000, token_seconds=0.003)
    fast = make_result("main", "b-fast", loss=0.02, size=1010, token_seconds=0.002)
    (judgement,) = judge([full, slow, fast])
    best = recommended(judgement)
    assert best is not None
    assert best.method == "b-fast"


def test_of_equal_sizes_and_times_the_one_that_loses_less_is_recommended(make_result: Make, full: ModelResult) -> None:
    """rtn and gptq run the same kernels: what differs in their times is the machine."""
    coarse = make_result("main", "rtn", loss=0.03, size=1000, token_seconds=0.0018)
    careful = make_result("main", "gptq", loss=0.02, size=1010, token_seconds=0.002)
    (judgement,) = judge([full, coarse, careful])
    best = recommended(judgement)
    assert best is not None
    assert best.method == "gptq"


def test_shares_change_by_points(make_result: Make, full: ModelResult) -> None:
    (judgement,) = judge([full, make_result("main", "bad", loss=0.1, misses=20)])
    lines = judgement.methods[0].comparisons["lines"]
    assert change_of(lines) == "-33 pt"
    assert re.fullmatch(r"-[\d.]+ … -[\d.]+ pt", interval(lines))


def test_an_interval_that_reaches_beyond_the_tolerance_is_not_good_enough(
    make_result: Make, one_model: Callable[..., str]
) -> None:
    """A loss of 4.9% is below 5%, and its interval is not."""
    assert one_model(make_result("main", "edge", loss=0.0486, size=1000)).startswith("Keep the full main: no method")


def test_a_loss_in_another_benchmark_rules_a_method_out(make_result: Make, one_model: Callable[..., str]) -> None:
    bad = make_result("main", "bad", loss=0.001, misses=20, size=500)
    good = make_result("main", "good", loss=0.001, size=1000)
    assert "Use good for main" in one_model(bad, good)
    assert "bad is smaller still but loses +33% of lines" in one_model(bad, good)


def test_a_loss_is_shown_over_all_methods_together(make_result: Make, full: ModelResult) -> None:
    """Eight items of one sign have p = 0.008: enough for two comparisons, and not for eight."""
    bad, others = make_result("main", "bad", misses=8), [make_result("main", f"same {name}") for name in range(3)]

    def verdict(*results: ModelResult) -> str:
        (judgement,) = judge([full, *results])
        return next(one for one in judgement.methods if one.method == "bad").comparisons["lines"].verdict

    assert verdict(bad) == "worse"
    assert verdict(bad, *others) == "no difference shown"


def test_speeds_of_two_machines_are_never_compared(
    make_result: Make, make_performance: Make, full: ModelResult
) -> None:
    (judgement,) = judge([full, make_result("main", "gptq", loss=0.01, token_seconds=0.002)])
    (same,) = judgement.methods
    assert same.faster == pytest.approx(2.0)
    elsewhere = replace(same.result, performance=make_performance("gptq", 0.002, device="NVIDIA H200"))
    (judgement,) = judge([full, elsewhere])
    assert judgement.methods[0].faster is None


def test_no_difference_is_said_as_such(make_result: Make, one_model: Callable[..., str]) -> None:
    assert "no difference of its perplexity is shown" in one_model(make_result("main", "same", size=1000))


def test_several_models_share_one_recommendation_or_none(make_result: Make, full: ModelResult) -> None:
    second = make_result("zoo", "full", size=400)
    both = [
        full,
        second,
        make_result("main", "gptq", loss=0.02, size=1000),
        make_result("zoo", "gptq", loss=0.03, size=130),
    ]
    assert headline(judge(both)) == (
        "Use gptq: the smallest that is shown to lose less than 5% on all 2 models, 3.08× to 4.00× smaller at +2.0% to "
        "+3.0% perplexity."
    )
    bad = [full, second, both[2], make_result("zoo", "gptq", loss=0.3, size=130)]
    assert headline(judge(bad)) == "No method is shown to lose less than 5% on every model: choose by model."


def test_a_model_without_its_full_result_is_refused(make_result: Make) -> None:
    with pytest.raises(EvaluationError, match="main: no result of the method 'full'"):
        judge([make_result("main", "gptq")])


def test_variants_of_one_recipe_are_its_calibrations(make_result: Make, make_record: Make, full: ModelResult) -> None:
    variants = [
        make_result("main", f"gptq-{seed}", loss=0.01 * seed, record=make_record(seed, bits=4)) for seed in (1, 2)
    ]
    other = make_result("main", "rtn", loss=0.1, record=make_record(1, bits=3))
    (judgement,) = judge([full, *variants, other])
    assert [one.method for one in judgement.methods] == ["gptq-1", "rtn"]
    assert [one.method for one in judgement.calibrations["gptq-1"]] == ["gptq-1", "gptq-2"]


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=12))
def test_no_point_beats_one_of_the_front_and_each_other_point_is_beaten(points: list[tuple[int, int]]) -> None:
    front = pareto_front(points)

    def beats(a: tuple[int, int], b: tuple[int, int]) -> bool:
        return a[0] <= b[0] and a[1] <= b[1] and a != b

    for index, point in enumerate(points):
        is_beaten = any(beats(other, point) for other in points)
        assert index not in front or not is_beaten
        assert is_beaten or point in [points[one] for one in front]
    assert [points[index] for index in front] == sorted(points[index] for index in front)
