from __future__ import annotations

from llm_contract.monitor_metrics import GPU_METRICS, MONITOR_METRICS, SCRAPE_METRICS, SERIES

EVERY = (*SCRAPE_METRICS, *GPU_METRICS, *MONITOR_METRICS)


def test_each_metric_is_in_one_list() -> None:
    names = [metric.name for metric in EVERY]
    assert len(set(names)) == len(names)
    assert SERIES in MONITOR_METRICS
    assert all(metric.name.startswith("gpu_") for metric in GPU_METRICS)
    assert all(metric.name.startswith("monitor_") for metric in MONITOR_METRICS)


def test_names_and_kinds_follow_the_convention() -> None:
    for metric in EVERY:
        assert (metric.kind == "counter") == metric.name.endswith("_total"), metric.name
        assert (metric.kind == "histogram") == bool(metric.buckets), metric.name
        assert metric.help.endswith(".")
