from collections.abc import Callable

import pytest

from llm_bench.analyse.figures import FIGURES, Figure, parse_figure, read_figure
from llm_bench.errors import ScenarioError
from llm_bench.results.result import Result

MakeResult = Callable[..., Result]


@pytest.mark.parametrize(
    ("name", "figure"),
    [
        ("ttft_p99", Figure("all", "ttft_p99")),
        ("interactive.ttft_from_send_mean", Figure("interactive", "ttft_from_send_mean")),
        ("v1.5.goodput", Figure("v1.5", "goodput")),
    ],
)
def test_names_are_read_and_written(name: str, figure: Figure) -> None:
    assert parse_figure(name) == figure
    assert figure.name == name


@pytest.mark.parametrize("name", ["ttft", "ttft_p95", "p99", "interactive.", ""])
def test_a_wrong_name_is_told_what_there_is(name: str) -> None:
    with pytest.raises(ScenarioError, match=r"ttft_from_send.*_mean, _p50.*goodput"):
        parse_figure(name)


def test_every_figure_is_read(make_result: MakeResult) -> None:
    summary = make_result(waits={"chat": 0.2}).summary

    values = {key: read_figure(summary, Figure("chat", key)) for key in FIGURES}

    assert values["ttft_p50"] == pytest.approx(0.2)
    assert values["tpot_mean"] == pytest.approx(0.1)
    assert values["slo_attainment"] == 1.0
    assert None not in values.values()


def test_a_class_that_the_run_does_not_have_is_told(make_result: MakeResult) -> None:
    with pytest.raises(ScenarioError, match="no class 'bulk', but chat, all"):
        read_figure(make_result(waits={"chat": 0.2}).summary, Figure("bulk", "ttft_p50"))
