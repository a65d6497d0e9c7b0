"""CPU time of a cycle's queries: 20 panels and the built-in rules over 10 engines in a full head.

    python services/monitor/benchmarks/promql_speed.py                 # writes results/promql_speed.json

The head has ten minutes at 4 Hz of every series that an engine exports. The bar is 25 ms for the 20 panels.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from llm_contract.metrics import ENGINE_METRICS
from llm_monitor.alerts import AlertEngine, AlertSettings, load
from llm_monitor.alerts.results import HeadWriter
from llm_monitor.promql import instant, parse, query_range
from llm_monitor.promql.evaluate import Shared
from llm_monitor.series import labels_of
from llm_monitor.series.head import Head
from llm_monitor.series.page import Layout, Page

RESULTS = Path(__file__).parent / "results" / "promql_speed.json"
NOW = 1_760_000_000.0
SECONDS, HERTZ, ENGINES = 600, 4, 10
HISTOGRAMS = (
    "time_to_first_token_seconds",
    "inter_token_latency_seconds",
    "e2e_request_latency_seconds",
    "request_queue_time_seconds",
)
PANELS = [
    *(
        f"histogram_quantile({q}, sum by (le) (rate(vllm:{name}_bucket[1m])))"
        for name in HISTOGRAMS
        for q in (0.5, 0.95, 0.99)
    ),
    "sum(rate(vllm:generation_tokens_total[10s]))",
    "sum by (instance) (vllm:num_requests_running)",
    "sum by (instance) (vllm:num_requests_waiting)",
    "vllm:kv_cache_usage_perc",
    "sum(rate(vllm:prefix_cache_hits_total[1m])) / sum(rate(vllm:prefix_cache_queries_total[1m]))",
    "sum by (instance) (rate(vllm:num_preemptions_total[1m]))",
    "sum by (finished_reason) (rate(vllm:request_success_total[1m]))",
    "max_over_time(vllm:kv_cache_usage_perc[1m])",
]


def full_head() -> Head:
    head, random = Head(float(SECONDS)), np.random.default_rng(0)
    for engine in range(ENGINES):
        target = {"job": "engine", "instance": f"engine-{engine}:8000", "model_name": "m", "engine": "0"}
        labels = [
            labels_of({**target, "__name__": metric.name + suffix, **({"le": le} if le else {})})
            for metric in ENGINE_METRICS
            for suffix, le in _series(metric.kind, metric.buckets)
        ]
        layout, values = Layout(tuple(labels)), np.zeros(len(labels))
        for step in range(SECONDS * HERTZ):
            values += random.integers(0, 3, len(labels))
            head.append(f"engine-{engine}", NOW - SECONDS + step / HERTZ + 0.1, Page(layout, values))
    return head


def _series(kind: str, buckets: tuple[float, ...]) -> list[tuple[str, str]]:
    if kind != "histogram":
        return [("", "")]
    return [*(("_bucket", str(float(bound))) for bound in buckets), ("_bucket", "+Inf"), ("_sum", ""), ("_count", "")]


def cpu_milliseconds(work: Callable[[], object], runs: int) -> dict[str, float]:
    taken = []
    for _ in range(runs + 2):
        begin = time.process_time()
        work()
        taken.append(1000 * (time.process_time() - begin))
    taken = taken[2:]
    return {"median_ms": round(statistics.median(taken), 2), "max_ms": round(max(taken), 2), "runs": runs}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=30)
    parser.add_argument("--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    head = full_head()
    expressions = [parse(text) for text in PANELS]

    def cycle() -> None:
        shared = Shared()
        for expression in expressions:
            instant(expression, head, NOW, shared=shared)

    def past() -> None:
        for expression in expressions:
            query_range(expression, head, NOW - 480, NOW, step=1)

    engine, clock = AlertEngine(load(AlertSettings()), head, write=HeadWriter(head).write), iter(range(1, 10**6))
    result = {
        "series": head.series,
        "panels": len(PANELS),
        "instant": cpu_milliseconds(cycle, arguments.runs),
        "range_of_480_steps": cpu_milliseconds(past, max(3, arguments.runs // 10)),
        "rules": cpu_milliseconds(lambda: engine.evaluate(NOW + next(clock)), arguments.runs),
    }
    arguments.output.parent.mkdir(exist_ok=True)
    arguments.output.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
