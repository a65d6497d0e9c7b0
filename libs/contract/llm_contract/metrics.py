"""vLLM's metric names, with kind, labels and buckets, so that one dashboard reads our engine and vLLM alike.

Names are those on the wire: a counter's ends in `_total`. Times are seconds. Source: vllm/v1/metrics/loggers.py.
Served in the plain text format: asked for OpenMetrics, Prometheus's client would rewrite the colon.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["gauge", "counter", "histogram"]

ENGINE_LABELS = ("model_name", "engine")

TTFT_BUCKETS = (
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75,
    1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0, 160.0, 640.0, 2560.0,
)  # fmt: skip
INTER_TOKEN_BUCKETS = (
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0,
)  # fmt: skip
REQUEST_BUCKETS = (
    0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0,
    40.0, 50.0, 60.0, 120.0, 240.0, 480.0, 960.0, 1920.0, 7680.0,
)  # fmt: skip
ITERATION_TOKEN_BUCKETS = (1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)


def token_count_buckets(limit: int) -> tuple[int, ...]:
    """Return 1, 2, 5, 10, 20, 50, … up to `limit`, the context length: vLLM's buckets for token counts."""
    steps = (digit * 10**power for power in range(len(str(limit))) for digit in (1, 2, 5))
    return tuple(step for step in steps if step <= limit)


@dataclass(frozen=True, slots=True)
class Metric:
    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ENGINE_LABELS
    buckets: tuple[float, ...] = ()
    """Upper bounds of a histogram; empty where they follow from the model's context length."""


REQUESTS_RUNNING = Metric("vllm:num_requests_running", "gauge", "Requests in the running batch.")
REQUESTS_WAITING = Metric("vllm:num_requests_waiting", "gauge", "Requests that wait to be scheduled.")
KV_CACHE_USAGE = Metric("vllm:kv_cache_usage_perc", "gauge", "KV-cache usage; 1 means 100 percent.")
CACHE_CONFIG_INFO = Metric(
    "vllm:cache_config_info",
    "gauge",
    "KV-cache configuration, as labels.",
    ("engine", "block_size", "num_gpu_blocks", "enable_prefix_caching"),
)
PROMPT_TOKENS = Metric("vllm:prompt_tokens_total", "counter", "Prompt tokens processed.")
GENERATION_TOKENS = Metric("vllm:generation_tokens_total", "counter", "Tokens generated.")
REQUEST_SUCCESS = Metric(
    "vllm:request_success_total", "counter", "Requests finished.", (*ENGINE_LABELS, "finished_reason")
)
PREEMPTIONS = Metric("vllm:num_preemptions_total", "counter", "Preemptions by the scheduler.")
PREFIX_CACHE_QUERIES = Metric("vllm:prefix_cache_queries_total", "counter", "Tokens looked up in the prefix cache.")
PREFIX_CACHE_HITS = Metric("vllm:prefix_cache_hits_total", "counter", "Tokens found in the prefix cache.")
TIME_TO_FIRST_TOKEN = Metric(
    "vllm:time_to_first_token_seconds", "histogram", "Arrival to first token.", buckets=TTFT_BUCKETS
)
INTER_TOKEN_LATENCY = Metric(
    "vllm:inter_token_latency_seconds", "histogram", "Between two tokens of a request.", buckets=INTER_TOKEN_BUCKETS
)
TIME_PER_OUTPUT_TOKEN = Metric(
    "vllm:request_time_per_output_token_seconds",
    "histogram",
    "Mean time per output token of a request, the first excluded.",
    buckets=INTER_TOKEN_BUCKETS,
)
E2E_LATENCY = Metric("vllm:e2e_request_latency_seconds", "histogram", "Arrival to last token.", buckets=REQUEST_BUCKETS)
QUEUE_TIME = Metric(
    "vllm:request_queue_time_seconds", "histogram", "Arrival to first scheduled.", buckets=REQUEST_BUCKETS
)
PREFILL_TIME = Metric(
    "vllm:request_prefill_time_seconds", "histogram", "First scheduled to first token.", buckets=REQUEST_BUCKETS
)
DECODE_TIME = Metric(
    "vllm:request_decode_time_seconds", "histogram", "First token to last token.", buckets=REQUEST_BUCKETS
)
INFERENCE_TIME = Metric(
    "vllm:request_inference_time_seconds", "histogram", "First scheduled to last token.", buckets=REQUEST_BUCKETS
)
REQUEST_PROMPT_TOKENS = Metric("vllm:request_prompt_tokens", "histogram", "Prompt tokens of a request.")
REQUEST_GENERATION_TOKENS = Metric("vllm:request_generation_tokens", "histogram", "Tokens generated for a request.")
ITERATION_TOKENS = Metric(
    "vllm:iteration_tokens_total",
    "histogram",
    "Tokens of one engine step: new ones, and prompts that became complete.",
    buckets=ITERATION_TOKEN_BUCKETS,
)

ENGINE_METRICS: tuple[Metric, ...] = tuple(value for value in list(globals().values()) if isinstance(value, Metric))
"""Every engine metric above, in order."""

SPANS = Metric(
    "llm_spans_total",
    "counter",
    "Finished spans by result: sent, failed (the receiver did not take them), dropped (too many waited).",
    ("result",),
)
"""Exported by engine, gateway and router while tracing is on."""
