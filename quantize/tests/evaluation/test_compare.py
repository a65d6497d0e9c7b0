from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest

from llm_quantize.errors import EvaluationError
from llm_quantize.evaluation.compare import compare, compare_scores
from llm_quantize.evaluation.evaluation import Evaluation
from llm_quantize.evaluation.scores import Scores


def make_scores(benchmark: str, values: list[float], names: list[str] | None = None) -> Scores:
    names = names or [f"item {place}" for place in range(len(values))]
    return Scores(benchmark, names, values, [1.0] * len(values), names)


def make_evaluation(name: str, *scores: Scores) -> Evaluation:
    return Evaluation(
        name=name,
        reference=None,
        weight_bytes=1,
        text="",
        device="cpu",
        seconds=0.0,
        versions={},
        scores={one.benchmark: one for one in scores},
    )


@pytest.fixture
def losses() -> list[float]:
    """Items that differ far more among themselves than two models on one item."""
    return np.random.default_rng(0).gamma(2.0, 1.0, 60).tolist()


def test_a_small_loss_is_shown_since_items_are_paired(losses: list[float]) -> None:
    a = make_scores("perplexity", losses)
    b = make_scores("perplexity", [loss + 0.01 + 0.01 * (place % 2) for place, loss in enumerate(losses)])
    one = compare_scores(a, b)
    assert one.kind == "ratio"
    assert one.change.value == pytest.approx(np.exp(0.015))
    assert 1.01 < one.change.low < one.change.high < 1.02
    assert one.p_value < 0.001


def test_pairs_are_found_by_name_and_not_by_place(losses: list[float]) -> None:
    """Matched by place, a shuffled B has differences as large as the spread of the items, and nothing is shown."""
    a = make_scores("perplexity", losses)
    worse = [loss + 0.02 for loss in losses]
    order = list(range(len(losses)))
    random.Random(3).shuffle(order)
    shuffled = make_scores("perplexity", [worse[place] for place in order], [f"item {place}" for place in order])

    assert compare_scores(a, shuffled) == compare_scores(a, make_scores("perplexity", worse))
    by_place = replace(shuffled, items=a.items)
    assert compare_scores(a, by_place).p_value > 0.2
    assert compare_scores(a, by_place).change.low < 1 < compare_scores(a, by_place).change.high


@pytest.mark.parametrize("names", [["item 0", "item 1", "other"], ["item 0", "item 1", "item 1"], ["item 0", "item 1"]])
def test_other_items_are_refused(names: list[str]) -> None:
    a = make_scores("lines", [1.0, 0.0, 1.0])
    with pytest.raises(EvaluationError, match="different items"):
        compare_scores(a, make_scores("lines", [1.0] * len(names), names))


def test_the_same_scores_show_no_difference(losses: list[float]) -> None:
    same = make_evaluation("a", make_scores("perplexity", losses), make_scores("lines", [1.0, 0.0] * 20))
    ratio, difference = compare(same, same)
    assert (ratio.change.value, ratio.change.low, ratio.change.high, ratio.p_value) == (1.0, 1.0, 1.0, 1.0)
    assert ratio.verdict == difference.verdict == "no difference shown"
    assert difference.change.low < 0 < difference.change.high  # 40 pairs without a difference do not prove equality
    assert difference.detectable > 0


@pytest.mark.parametrize(
    ("benchmark", "change", "verdict"),
    [("perplexity", 0.5, "worse"), ("perplexity", -0.5, "better"), ("next-token", 0.5, "better"), ("kl", 0.5, "worse")],
)
def test_a_verdict_knows_which_way_is_better(benchmark: str, change: float, verdict: str, losses: list[float]) -> None:
    a = make_evaluation("a", make_scores(benchmark, losses))
    b = make_evaluation("b", make_scores(benchmark, [loss + change for loss in losses]))
    (one,) = compare(a, b)
    assert one.verdict == verdict
    assert (one.loss.value > 0) == (verdict == "worse")
    assert one.loss.low <= one.loss.value <= one.loss.high


def test_many_benchmarks_are_corrected_for_their_number() -> None:
    """A p-value of 0.03 is shown when it stands alone, and not among eight."""
    flips = [1.0] * 6 + [0.0] * 30
    a, b = make_scores("lines", [0.0] * 36), make_scores("lines", flips)
    rest = [make_scores(f"lm-eval:{number}", [1.0, 0.0] * 18) for number in range(7)]
    (alone,) = compare(make_evaluation("a", a), make_evaluation("b", b))
    among, *_ = compare(make_evaluation("a", a, *rest), make_evaluation("b", b, *rest))
    assert 0.02 < alone.p_value < 0.045
    assert alone.verdict == "better"
    assert among.verdict == "no difference shown"


def test_evaluations_without_a_common_benchmark_are_refused() -> None:
    with pytest.raises(EvaluationError, match="share no benchmark"):
        compare(make_evaluation("a", make_scores("lines", [1.0])), make_evaluation("b", make_scores("kl", [1.0])))
