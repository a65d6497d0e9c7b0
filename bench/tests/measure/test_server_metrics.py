from collections.abc import Callable

import pytest

from llm_bench.measure.histograms import Exposition
from llm_bench.measure.server_metrics import ServerMetrics, compare_histograms, merge, read_scrapes
from llm_bench.measure.summary import ClassFigures
from llm_bench.results.result import Result

TTFT = "vllm:time_to_first_token_seconds"
MakeResult = Callable[..., Result]


@pytest.fixture
def figures(make_result: MakeResult) -> ClassFigures:
    """All 20 requests had their first token 199 ms after they were sent."""
    return make_result(waits={"chat": 0.2}).summary.classes["all"]


@pytest.mark.parametrize(
    ("served", "agrees"),
    [
        ({0.1: 0, 0.25: 20, 0.5: 20, 0.75: 20}, "same bucket"),
        ({0.1: 0, 0.25: 0, 0.5: 20, 0.75: 20}, "next bucket"),
        ({0.1: 20, 0.25: 20, 0.5: 20, 0.75: 20}, "next bucket"),
        ({0.1: 0, 0.25: 0, 0.5: 0, 0.75: 20}, "apart"),
    ],
)
def test_client_and_server_agree_within_a_bucket(
    figures: ClassFigures, served: dict[float, float], agrees: str
) -> None:
    found = compare_histograms(Exposition(), Exposition(buckets={TTFT: served}), figures)

    assert [(one.metric, one.quantile) for one in found] == [("TTFT", 0.5), ("TTFT", 0.9), ("TTFT", 0.99)]
    assert {one.agrees for one in found} == {agrees}
    assert found[0].client == pytest.approx(0.199)


def test_what_was_observed_before_the_run_does_not_count(figures: ClassFigures) -> None:
    before, after = {0.1: 100.0, 0.25: 100.0}, {0.1: 100.0, 0.25: 120.0}

    found = compare_histograms(Exposition(buckets={TTFT: before}), Exposition(buckets={TTFT: after}), figures)

    assert (found[0].low, found[0].high, found[0].agrees) == (0.1, 0.25, "same bucket")


def test_scrapes_become_series(figures: ClassFigures) -> None:
    scrapes = [
        (at, Exposition({"vllm:num_requests_running": running, "vllm:prefix_cache_queries_total": 10 * at,
                         "vllm:prefix_cache_hits_total": 4 * at}))
        for at, running in ((0.0, 1.0), (0.5, 3.0), (1.0, 2.0))
    ]  # fmt: skip

    read = read_scrapes(["http://one/metrics"], scrapes, figures)

    assert read is not None
    assert read.times == [0.0, 0.5, 1.0]
    assert read.series["running"] == [1.0, 3.0, 2.0]
    assert "waiting" not in read.series
    assert (read.grown("prefix_queries"), read.grown("waiting")) == (10.0, None)
    assert read.prefix_hit_rate == pytest.approx(0.4)
    assert read_scrapes([], scrapes[:1], figures) is None
    assert ServerMetrics([]).prefix_hit_rate is None


def test_engines_are_summed_and_their_usage_averaged() -> None:
    pages = [
        Exposition({"vllm:num_requests_running": 2.0, "vllm:kv_cache_usage_perc": 0.5}, {TTFT: {0.1: 1.0}}),
        Exposition({"vllm:num_requests_running": 3.0, "vllm:kv_cache_usage_perc": 0.1}, {TTFT: {0.1: 4.0, 0.2: 5.0}}),
    ]

    merged = merge(pages)

    assert merged.values["vllm:num_requests_running"] == 5.0
    assert merged.values["vllm:kv_cache_usage_perc"] == pytest.approx(0.3)
    assert merged.buckets == {TTFT: {0.1: 5.0, 0.2: 5.0}}
