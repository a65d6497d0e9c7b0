from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_bench.analyse.knee import MAX_DOUBLINGS, Knee, Trial, find_knee, judge_trial
from llm_bench.results.result import Result

MakeResult = Callable[..., Result]


def target(limit: float, noise: Callable[[int], bool] = lambda _: False) -> Callable[[float], Trial]:
    """Holds up to `limit` requests per second; run n has the opposite outcome where noise(n)."""
    made = iter(range(10_000))

    def attempt(rate: float) -> Trial:
        return Trial(rate, (rate <= limit) != noise(next(made)), 1.0, rate, 0.0, "")

    return attempt


def search(attempt: Callable[[float], Trial], **changes: float) -> Knee:
    return find_knee(attempt, first=changes.get("first", 8.0), precision=0.05, repeats=int(changes.get("repeats", 1)))


@given(limit=st.floats(0.1, 4000), first=st.floats(1, 100))
def test_the_knee_is_found_to_the_asked_precision(limit: float, first: float) -> None:
    knee = search(target(limit), first=first)

    assert knee.holds is not None
    assert knee.fails is not None
    assert knee.holds <= limit < knee.fails
    assert knee.fails / knee.holds <= 1.05
    assert len(knee.trials) <= MAX_DOUBLINGS + 7
    assert knee.best is not None
    assert knee.best.rate == knee.holds


def test_one_unlucky_run_of_three_does_not_decide() -> None:
    """The second run at every rate goes wrong: each rate then takes three."""
    knee = search(target(20.0, noise=lambda n: n % 3 == 1), repeats=3)

    assert knee.holds is not None
    assert knee.fails is not None
    assert knee.holds <= 20 < knee.fails
    assert len(knee.trials) % 3 == 0


def test_two_runs_that_agree_are_a_majority_of_three() -> None:
    knee = search(target(20.0), repeats=3)

    rates = [trial.rate for trial in knee.trials]
    assert all(rates.count(rate) == 2 for rate in rates)


@pytest.mark.parametrize(("limit", "holds", "fails"), [(0.0, None, 8.0 / 2**12), (1e9, 8.0 * 2**12, None)])
def test_a_knee_out_of_reach_is_told(limit: float, holds: float | None, fails: float | None) -> None:
    knee = search(target(limit))

    assert (knee.holds, knee.fails) == (holds, fails)


def test_a_run_holds_if_every_class_does_and_it_is_valid(make_result: MakeResult) -> None:
    """The SLO is a first token within a second."""
    good = judge_trial(make_result(waits={"chat": 0.2, "batch": 0.3}), 5.0, 0.99)
    late = judge_trial(make_result(waits={"chat": 0.2, "batch": 3.0}), 5.0, 0.99)
    broken = judge_trial(make_result(waits={"chat": 0.2}, outcome="reset"), 5.0, 0.9)

    assert (good.holds, good.attainment, good.why) == (True, 1.0, "")
    assert (late.holds, late.attainment) == (False, 0.0)
    assert late.why == "0.0% of batch requests within their SLO, goal 99.0%"
    assert not broken.holds
    assert broken.why == "1 of 20 requests failed (1 reset); limit 1%"
