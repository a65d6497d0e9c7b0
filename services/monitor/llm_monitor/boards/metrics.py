"""Every metric that a panel may name, with its labels: what engines, gateway, router, GPUs and the monitor export.

Names of vLLM alone: vllm/v1/metrics/loggers.py and vllm/v1/spec_decode/metrics.py. vLLM's `kv_block_…` need
`--kv-cache-metrics`.
"""

from __future__ import annotations

from dataclasses import dataclass

from llm_contract.gateway_metrics import GATEWAY_METRICS
from llm_contract.metrics import ENGINE_LABELS, ENGINE_METRICS, SPANS, Metric
from llm_contract.monitor_metrics import GPU_METRICS, MONITOR_METRICS, SCRAPE_METRICS
from llm_contract.router_metrics import ROUTER_METRICS

_POSITION = (*ENGINE_LABELS, "position")
SPECULATION_METRICS = (
    Metric("vllm:spec_decode_num_drafts_total", "counter", "Verifications of drafts."),
    Metric("vllm:spec_decode_num_draft_tokens_total", "counter", "Draft tokens verified."),
    Metric("vllm:spec_decode_num_accepted_tokens_total", "counter", "Draft tokens accepted."),
    Metric("vllm:spec_decode_num_accepted_tokens_per_pos_total", "counter", "The same by position.", _POSITION),
)
VLLM_METRICS = (
    Metric(
        "vllm:num_requests_waiting_by_reason", "gauge", "Requests that wait, by reason.", (*ENGINE_LABELS, "reason")
    ),
    Metric("vllm:kv_block_lifetime_seconds", "histogram", "Allocation to eviction of a KV block.", buckets=(0.001,)),
)
ALERTS = Metric("ALERTS", "gauge", "1 while an alert is pending or firing.", ("alertname", "alertstate", "severity"))
TARGET_LABELS = frozenset({"job", "instance"})
_HISTOGRAM_SERIES = ("_bucket", "_sum", "_count")


@dataclass(frozen=True, slots=True)
class Exported:
    """A series' name as it is on the wire, with its labels, and the histogram that it belongs to."""

    metric: Metric
    labels: frozenset[str]


def exported(*more: Metric) -> dict[str, Exported]:
    """Return every name that a target exports: a histogram has three."""
    known: dict[str, Exported] = {}
    services = (*ENGINE_METRICS, *SPECULATION_METRICS, *VLLM_METRICS, *GATEWAY_METRICS, *ROUTER_METRICS, SPANS)
    for metric in (*services, *SCRAPE_METRICS, *GPU_METRICS, *MONITOR_METRICS, ALERTS, *more):
        labels = TARGET_LABELS.union(metric.labels)
        if metric.kind == "histogram":
            known |= {metric.name + end: Exported(metric, labels) for end in _HISTOGRAM_SERIES}
            known[f"{metric.name}_bucket"] = Exported(metric, labels | {"le"})
        else:
            known[metric.name] = Exported(metric, labels)
    return known
