import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from llm_bench.analyse.figures import Figure
from llm_bench.analyse.paired import PairedRatio, compare_pairs, correct, evidence, paired_ratio
from llm_bench.results.result import Result

MakeResult = Callable[..., Result]

TTFT = Figure("all", "ttft_p99")


def drawn(rng: np.random.Generator, ratio: float, pairs: int = 6) -> PairedRatio:
    """Pairs that share a load of their own (30%) and differ by noise of 5% a run and by the true `ratio`."""
    load = np.exp(rng.normal(0, 0.3, pairs))
    a, b = (load * np.exp(rng.normal(0, 0.05, (2, pairs)))) * [[1.0], [ratio]]
    return paired_ratio(TTFT, list(zip(a.tolist(), b.tolist(), strict=True)))


@pytest.mark.parametrize("ratio", [1.0, 1.2])
def test_intervals_of_a_ratio_cover_the_truth_95_times_in_100(ratio: float) -> None:
    rng = np.random.default_rng(1)

    trials = [drawn(rng, ratio).ratio for _ in range(1000)]

    assert 0.93 <= sum((one.low or 0) <= ratio <= (one.high or 0) for one in trials) / 1000 <= 0.97


@pytest.mark.parametrize("figures", [1, 12])
def test_a_against_a_declares_a_difference_in_at_most_5_of_100(figures: int) -> None:
    """Over all the figures of a comparison together; 3 standard errors of 1,000 trials allow 2 points more."""
    rng = np.random.default_rng(figures)

    declared = [any(one.shown for one in correct([drawn(rng, 1.0) for _ in range(figures)])) for _ in range(1000)]

    assert sum(declared) / 1000 <= 0.05 + 0.02


def test_a_detectable_difference_is_shown_four_times_in_five() -> None:
    rng = np.random.default_rng(3)
    typical = float(np.median([drawn(rng, 1.0, 8).detectable for _ in range(500)]))

    shown = [correct([drawn(rng, typical, 8)])[0].shown for _ in range(1000)]

    assert 0.72 <= sum(shown) / 1000 <= 0.88


def test_the_load_of_a_pair_cancels() -> None:
    ratio = paired_ratio(TTFT, [(1.0, 1.1), (10.0, 11.0), (100.0, 110.0)])

    assert ratio.ratio.value == pytest.approx(1.1)
    assert ratio.detectable == pytest.approx(1.0)
    assert (ratio.a, ratio.b) == (pytest.approx(10.0), pytest.approx(11.0))
    assert correct([ratio])[0].verdict == "B worse"


def test_equal_pairs_show_no_difference() -> None:
    assert correct([paired_ratio(TTFT, [(1.0, 1.0), (0.97, 0.97)])])[0].verdict == "no difference shown"


def test_better_and_worse_depend_on_the_figure() -> None:
    faster = paired_ratio(Figure("all", "goodput"), [(1.0, 1.5), (2.0, 3.0)])
    slower = paired_ratio(TTFT, [(1.0, 1.5), (2.0, 3.0)])

    assert [one.verdict for one in correct([faster, slower])] == ["B better", "B worse"]


def test_holm_steps_down_and_stops_at_the_first_that_fails() -> None:
    """0.01 <= 0.05/4; 0.02 > 0.05/3, so 0.04 <= 0.05/1 is not looked at any more."""
    template = paired_ratio(TTFT, [(1.0, 1.0), (1.0, 1.0)])

    corrected = correct([replace(template, p_value=p) for p in (0.04, 0.02, 0.01, 0.9)])

    assert [one.shown for one in corrected] == [False, False, True, False]


def test_whole_summaries(make_result: MakeResult) -> None:
    a = [make_result(waits={"chat": wait}).summary for wait in (0.2, 0.3, 0.25)]
    b = [make_result(waits={"chat": 2 * wait}).summary for wait in (0.2, 0.3, 0.25)]

    ratios = {one.figure: one for one in compare_pairs(list(zip(a, b, strict=True)))}

    assert ratios["chat.ttft_p50"].ratio.value == pytest.approx(2.0)
    assert ratios["ttft_p99"].verdict == "B worse"
    assert ratios["slo_attainment"].verdict == "no difference shown"
    assert evidence(list(ratios.values()))["ttft_p99"].low == pytest.approx(2.0)


def test_a_figure_that_is_nought_somewhere_is_left_out(make_result: MakeResult) -> None:
    slow = make_result(waits={"chat": 9.0}).summary  # no request meets its SLO of 1 s

    figures = [one.figure for one in compare_pairs([(slow, slow), (slow, slow)])]

    assert "slo_attainment" not in figures
    assert "ttft_p50" in figures
    assert not any(math.isnan(one.ratio.value) for one in compare_pairs([(slow, slow), (slow, slow)]))
