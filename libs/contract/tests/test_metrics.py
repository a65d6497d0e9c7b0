from __future__ import annotations

import pytest

from llm_contract.gateway_metrics import GATEWAY_METRICS
from llm_contract.metrics import ENGINE_METRICS, Metric, token_count_buckets
from llm_contract.router_metrics import ROUTER_METRICS

EVERY_METRIC = [*ENGINE_METRICS, *GATEWAY_METRICS, *ROUTER_METRICS]


@pytest.mark.parametrize(
    ("limit", "buckets"),
    [(1, (1,)), (10, (1, 2, 5, 10)), (2048, (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000))],
)
def test_token_count_buckets_are_vllms(limit: int, buckets: tuple[int, ...]) -> None:
    assert token_count_buckets(limit) == buckets


@pytest.mark.parametrize("metric", EVERY_METRIC, ids=lambda metric: metric.name)
def test_names_and_buckets_are_well_formed(metric: Metric) -> None:
    assert metric.name.startswith(("vllm:", "gateway_", "router_"))
    assert metric.name.endswith("_total") or metric.kind != "counter"
    assert list(metric.buckets) == sorted(set(metric.buckets))
    assert not metric.buckets or metric.kind == "histogram"


def test_names_are_unique_and_none_is_forgotten() -> None:
    names = [metric.name for metric in EVERY_METRIC]
    assert len(names) == len(set(names))
    assert {"vllm:num_requests_running", "vllm:iteration_tokens_total", "gateway_requests_total"} <= set(names)


def test_ttft_buckets_start_where_a_gateway_can_be_seen() -> None:
    ttft = next(metric for metric in ENGINE_METRICS if metric.name == "vllm:time_to_first_token_seconds")
    assert (ttft.buckets[0], ttft.buckets[-1], len(ttft.buckets)) == (0.001, 2560.0, 22)
