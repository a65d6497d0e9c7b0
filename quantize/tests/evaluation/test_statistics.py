from __future__ import annotations

import math

import numpy as np
import pytest

from llm_quantize.evaluation.statistics import Groups, grouped, mean_interval, sign_flip_p

TRIALS = 200


def mcnemar(wins: int, losses: int) -> float:
    """Return the p-value of McNemar's exact test."""
    count = wins + losses
    tail = sum(math.comb(count, k) for k in range(min(wins, losses) + 1)) / 2**count
    return min(1.0, 2 * tail)


def test_items_of_a_group_are_summed_with_their_weights() -> None:
    groups = grouped([1.0, 3.0, 5.0], [1.0, 1.0, 2.0], ["b", "a", "b"])
    assert groups.sums.tolist() == [3.0, 11.0]
    assert groups.weights.tolist() == [1.0, 3.0]
    assert groups.mean == 14 / 4


def test_the_standard_error_of_equal_weights_is_the_usual_one() -> None:
    values = [1.0, 2.0, 4.0, 8.0]
    assert Groups(np.array(values), np.ones(4)).error == pytest.approx(np.std(values, ddof=1) / 2)


def test_intervals_of_skewed_losses_cover_the_truth() -> None:
    rng = np.random.default_rng(0)
    held = 0
    for trial in range(TRIALS):
        weights = rng.integers(50, 257, 60).astype(float)
        interval = mean_interval(Groups(weights * rng.gamma(2.0, 1.0, 60), weights), seed=trial)
        held += interval.low <= 2.0 <= interval.high
    assert 0.92 <= held / TRIALS <= 0.98


def test_intervals_of_hits_near_certainty_cover_the_truth() -> None:
    rng = np.random.default_rng(0)
    held = 0
    for trial in range(TRIALS):
        hits = (rng.random(60) < 0.97).astype(float)
        interval = mean_interval(Groups(hits, np.ones(60)), made_up=(1.0, 1.0, 0.0, 0.0), seed=trial)
        held += interval.low <= 0.97 <= interval.high
    assert held / TRIALS >= 0.92


def test_ignoring_the_documents_would_cover_too_little() -> None:
    """Pieces of one document are alike: resampled one by one, their intervals miss the truth too often."""
    rng = np.random.default_rng(0)
    by_document = by_piece = 0
    for trial in range(TRIALS):
        values = (rng.normal(2.0, 1.0, 30)[:, None] + rng.normal(0.0, 0.3, (30, 6))).ravel()
        names = np.repeat(np.arange(30), 6).astype(str)
        honest = mean_interval(grouped(values, np.ones(180), names), seed=trial)
        naive = mean_interval(Groups(values, np.ones(180)), seed=trial)
        by_document += honest.low <= 2.0 <= honest.high
        by_piece += naive.low <= 2.0 <= naive.high
    assert by_document / TRIALS >= 0.91
    assert by_piece / TRIALS < 0.7


def test_all_hits_are_no_certainty_and_all_equal_losses_are() -> None:
    perfect = mean_interval(Groups(np.ones(20), np.ones(20)), made_up=(1.0, 1.0, 0.0, 0.0))
    assert (perfect.value, perfect.high) == (1.0, 1.0)
    assert perfect.low < 0.9
    same = mean_interval(Groups(np.full(20, 0.1), np.ones(20)))
    assert same.low == pytest.approx(0.1) == same.high


def test_a_few_items_have_no_interval() -> None:
    with pytest.raises(ValueError, match="8 items or more, not 1"):
        mean_interval(Groups(np.ones(1), np.ones(1)))


@pytest.mark.parametrize(("wins", "losses"), [(5, 5), (1, 9), (0, 6), (0, 0), (3, 14)])
def test_on_hits_and_misses_the_test_is_mcnemars(wins: int, losses: int) -> None:
    differences = np.array([1.0] * wins + [-1.0] * losses + [0.0] * 40)
    p_value = sign_flip_p(Groups(differences, np.ones(len(differences))))
    assert p_value == pytest.approx(mcnemar(wins, losses), abs=0.015)


def test_the_test_rejects_a_true_hypothesis_at_its_level_only() -> None:
    rng = np.random.default_rng(1)
    rejected = sum(
        sign_flip_p(Groups(rng.normal(0.0, 1.0, 20), np.ones(20)), seed=trial) <= 0.05 for trial in range(TRIALS)
    )
    assert 0.01 <= rejected / TRIALS <= 0.09
