from __future__ import annotations

import math
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from llm_contract.metrics import ENGINE_METRICS
from llm_engine import Engine, EngineConfig, SamplingParams
from llm_engine.metrics import EngineMetrics


@pytest.fixture
def engine(models: Path) -> tuple[Engine, EngineMetrics]:
    metrics = EngineMetrics("m")
    config = EngineConfig(str(models / "zoo" / "llama"), num_gpu_blocks_override=256)
    return Engine(config, [metrics]), metrics


def samples(metrics: EngineMetrics) -> dict[str, float]:
    """Sample name -> value, summed over labels."""
    values: dict[str, float] = {}
    for family in text_string_to_metric_families(metrics.render().decode()):
        for sample in family.samples:
            values[sample.name] = values.get(sample.name, 0) + sample.value
    return values


def test_every_metric_of_the_contract_is_there_with_its_kind_and_labels(engine: tuple[Engine, EngineMetrics]) -> None:
    text = engine[1].render().decode()
    for metric in ENGINE_METRICS:
        assert f"# TYPE {metric.name} {metric.kind}\n" in text, metric.name
    families = {family.name: family for family in text_string_to_metric_families(text)}
    for metric in ENGINE_METRICS:
        name = metric.name.removesuffix("_total") if metric.kind == "counter" else metric.name
        labels = {label for sample in families[name].samples for label in sample.labels} - {"le"}
        assert labels == set(metric.labels), metric.name


def test_two_requests_are_counted(engine: tuple[Engine, EngineMetrics]) -> None:
    runner, metrics = engine
    for request_id in "ab":
        runner.add_request(request_id, [5] * 40, SamplingParams(temperature=0, max_tokens=4, ignore_eos=True))
        while runner.has_work:
            runner.step()
    values = samples(metrics)
    assert values["vllm:prompt_tokens_total"] == 80
    assert values["vllm:generation_tokens_total"] == 8
    assert values["vllm:request_success_total"] == 2
    assert values["vllm:prefix_cache_queries_total"] == 80
    assert values["vllm:prefix_cache_hits_total"] == 32
    assert values["vllm:time_to_first_token_seconds_count"] == 2
    assert values["vllm:inter_token_latency_seconds_count"] == 6
    assert values["vllm:e2e_request_latency_seconds_count"] == 2
    assert values["vllm:request_generation_tokens_sum"] == 8
    assert values["vllm:iteration_tokens_total_sum"] == 80 + 8  # prompts whole, cached or not, as in vLLM
    assert values["vllm:num_requests_running"] == 0
    parts = values["vllm:request_queue_time_seconds_sum"] + values["vllm:request_inference_time_seconds_sum"]
    assert math.isclose(parts, values["vllm:e2e_request_latency_seconds_sum"], rel_tol=1e-6)


def test_gauges_follow_the_scheduler(engine: tuple[Engine, EngineMetrics]) -> None:
    runner, metrics = engine
    runner.add_request("a", [5] * 32, SamplingParams(max_tokens=4))
    assert samples(metrics)["vllm:num_requests_waiting"] == 1
    runner.step()
    values = samples(metrics)
    assert (values["vllm:num_requests_waiting"], values["vllm:num_requests_running"]) == (0, 1)
    assert values["vllm:kv_cache_usage_perc"] == pytest.approx(2 / 256)


def test_colons_survive_for_a_scraper_that_asks_for_openmetrics(engine: tuple[Engine, EngineMetrics]) -> None:
    assert b"vllm:num_requests_running{" in engine[1].render()
