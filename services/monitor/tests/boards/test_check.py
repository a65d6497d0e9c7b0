"""A panel that names what nobody exports is found, and one that stays empty on a recorded run."""

from __future__ import annotations

import numpy as np
import pytest
from tests.support_samples import BEGIN, recorded

from llm_contract.monitor_metrics import GPU_METRICS, MONITOR_METRICS
from llm_monitor.boards.catalog import BOARDS
from llm_monitor.boards.check import empty, faults, histogram_of, undefined
from llm_monitor.boards.metrics import exported
from llm_monitor.promql import instant, parse


def test_no_panel_names_what_no_target_exports() -> None:
    assert undefined(BOARDS, exported()) == []


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("vllm:no_such_metric", "no target exports vllm:no_such_metric"),
        ("rate(vllm:generation_tokens[1m])", "no target exports vllm:generation_tokens"),
        ('vllm:num_requests_running{model="x"}', "vllm:num_requests_running has no label model"),
        ("sum by (model) (vllm:num_requests_running)", "no metric of it has the label model"),
        ("vllm:time_to_first_token_seconds", "no target exports vllm:time_to_first_token_seconds"),
    ],
)
def test_a_wrong_name_is_a_fault(expression: str, expected: str) -> None:
    assert [fault for fault in faults(expression, exported()) if fault.startswith(expected)]


def test_a_percentile_knows_its_histogram() -> None:
    found = histogram_of("histogram_quantile(0.9, rate(vllm:e2e_request_latency_seconds_bucket[1m]))", exported())
    assert found is not None
    assert found.metric.buckets[0] == 0.3
    assert histogram_of("vllm:num_requests_running", exported()) is None


def test_no_panel_is_empty_on_a_recorded_run() -> None:
    samples = recorded()
    end = BEGIN + 40
    for metric in (*GPU_METRICS, *MONITOR_METRICS):
        ends = (("_bucket", {"le": "0.1"}), ("_bucket", {"le": "+Inf"}), ("_sum", {}), ("_count", {}))
        for suffix, bound in ends if metric.kind == "histogram" else (("", {}),):
            for second in range(41):
                labels = dict.fromkeys(metric.labels, "x") | bound
                samples.put(BEGIN + second, metric.name + suffix, float(second), job="x", instance="x", **labels)

    def has_series(expression: str) -> bool:
        return bool(np.isfinite(instant(parse(expression), samples, end).values).any())

    assert empty(BOARDS, has_series) == []


def test_an_empty_panel_is_named() -> None:
    found = empty(BOARDS, lambda expression: "router" not in expression)
    assert {name.split("/")[0] for name in found} == {"router"}
