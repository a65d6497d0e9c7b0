from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_bench.analyse.conditions import Condition, check_absolute, check_pairs, check_ratio, check_run, parse_condition
from llm_bench.analyse.figures import Figure
from llm_bench.analyse.repetitions import Estimate
from llm_bench.errors import ScenarioError
from llm_bench.results.result import Result

MakeResult = Callable[..., Result]


@pytest.mark.parametrize(
    ("text", "condition"),
    [
        ("ttft_p99 > 1.05x baseline", (Figure("all", "ttft_p99"), True, 1.05, True)),
        ("chat.tpot_p50>40ms", (Figure("chat", "tpot_p50"), True, 0.04, False)),
        ("slo_attainment < 99%", (Figure("all", "slo_attainment"), False, 0.99, False)),
        ("e2e_mean > 2 s", (Figure("all", "e2e_mean"), True, 2.0, False)),
        ("goodput < 0.9 × baseline", (Figure("all", "goodput"), False, 0.9, True)),
    ],
)
def test_conditions_are_read(text: str, condition: tuple[Figure, bool, float, bool]) -> None:
    assert parse_condition(text) == Condition(text, *condition)


@given(text=st.text(max_size=30))
def test_anything_else_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ScenarioError, match=r"ttft_from_send|1\.05x baseline"):
        parse_condition(text)


@pytest.mark.parametrize(
    ("low", "value", "high", "outcome"),
    [(1.06, 1.10, 1.14, "failed"), (1.01, 1.10, 1.20, "undecided"), (0.90, 1.00, 1.10, "passed")],
)
def test_a_ratio_fails_only_if_its_interval_is_beyond(low: float, value: float, high: float, outcome: str) -> None:
    condition = parse_condition("ttft_p99 > 1.05x baseline")

    finding = check_ratio(condition, Estimate(value, low, high, 6))

    assert finding.outcome == outcome
    assert f"{value:.3f}, 95% interval {low:.3f} to {high:.3f}" in finding.detail


def test_below_is_the_mirror_of_above() -> None:
    condition = parse_condition("goodput < 0.9x baseline")

    assert check_ratio(condition, Estimate(0.8, 0.7, 0.85, 6)).outcome == "failed"
    assert check_ratio(condition, Estimate(0.8, 0.7, 0.95, 6)).outcome == "undecided"
    assert check_ratio(condition, Estimate(1.0, 0.7, 1.3, 6)).outcome == "passed"
    assert check_ratio(condition, None).outcome == "failed"


def test_fixed_bounds(make_result: MakeResult) -> None:
    summary = make_result(waits={"chat": 0.2}).summary

    assert check_absolute(parse_condition("ttft_p99 > 100ms"), summary).outcome == "failed"
    assert check_absolute(parse_condition("ttft_p99 > 300ms"), summary).outcome == "passed"
    assert check_pairs(parse_condition("slo_attainment < 99%"), {}, summary).outcome == "passed"
    silent = make_result(waits={"chat": 0.2}, outcome="reset", per_class=1).summary
    assert check_absolute(parse_condition("ttft_p99 > 300ms"), silent).outcome == "failed"


def test_a_run_against_its_baseline(make_result: MakeResult) -> None:
    fast, slow = make_result(waits={"chat": 0.2}), make_result(waits={"chat": 0.3})
    condition = parse_condition("ttft_p99 > 1.05x baseline")

    assert check_run(condition, slow, fast).outcome == "failed"
    assert check_run(condition, fast, slow).outcome == "passed"
    assert check_run(parse_condition("slo_attainment < 1x baseline"), slow, fast).outcome == "passed"
    with pytest.raises(ScenarioError, match="needs --baseline DIR"):
        check_run(condition, slow, None)
    with pytest.raises(ScenarioError, match="use `compare`"):
        check_run(parse_condition("goodput < 0.9x baseline"), slow, fast)
