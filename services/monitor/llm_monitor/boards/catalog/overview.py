"""The fleet at a glance: is it up, how much does it serve, how long do users wait, what is about to run out."""

from __future__ import annotations

from llm_contract import gateway_metrics, metrics
from llm_monitor.boards.panel import Board, Panel, Query, Section
from llm_monitor.boards.shorthand import percentiles, quantile, rate, share, total

_ENDED = rate(gateway_metrics.REQUESTS.name, "classes")
_FAILED = rate(gateway_metrics.REQUESTS.name, "classes", matchers='outcome!~"ok|client_closed|invalid_request"')

_NOW = (
    Panel(
        key="up",
        title="Targets up",
        kind="stat",
        unit="count",
        queries=(Query(expression="sum(up)"), Query(name="of", expression="count(up)")),
        shows="Targets that answered their last scrape, of all that are known.",
        source="up, written by the monitor after each scrape.",
        cannot="A target that answers scrapes can still fail requests.",
    ),
    Panel(
        key="tokens",
        title="Output tokens",
        kind="stat",
        unit="per_second",
        queries=(Query(expression=rate(metrics.GENERATION_TOKENS.name, "engines")),),
        shows="Tokens generated a second by all engines.",
        source="The engines' own counter, over the window.",
        cannot="Tokens of requests that were aborted count as well.",
    ),
    Panel(
        key="finished",
        title="Requests",
        kind="stat",
        unit="per_second",
        queries=(Query(expression=rate(metrics.REQUEST_SUCCESS.name, "engines")),),
        shows="Requests that ended in an engine, a second.",
        source="The engines' own counter, over the window.",
        cannot="Requests that the gateway or the router refused never reach an engine.",
    ),
    Panel(
        key="ttft-p99",
        title="TTFT P99",
        kind="stat",
        unit="seconds",
        queries=(Query(expression=quantile(0.99, metrics.TIME_TO_FIRST_TOKEN.name, "engines")),),
        shows="Time from a request's arrival at the engine to its first token, 99th percentile of the window.",
        source="The engines' histogram, summed over engines before the percentile is taken.",
        cannot="The wait at gateway and router comes on top.",
    ),
    Panel(
        key="running",
        title="Running",
        kind="stat",
        unit="count",
        queries=(
            Query(expression=total(metrics.REQUESTS_RUNNING.name, "engines")),
            Query(name="waiting", expression=total(metrics.REQUESTS_WAITING.name, "engines")),
        ),
        shows="Requests in the engines' batches, and those that wait in the engines' queues.",
        source="Gauges of the engines.",
    ),
    Panel(
        key="kv",
        title="KV cache, fullest",
        kind="stat",
        unit="share",
        queries=(Query(expression=f"max({metrics.KV_CACHE_USAGE.name}{{$engines}})"),),
        limit=0.95,
        shows="Usage of the KV cache of the fullest engine.",
        source="Gauge of the engines.",
        cannot="Cached prefixes that no request uses count as free.",
    ),
)

_SERVED = (
    Panel(
        key="throughput",
        title="Tokens",
        unit="per_second",
        queries=(
            Query(name="output", expression=rate(metrics.GENERATION_TOKENS.name, "engines")),
            Query(name="prompt", expression=rate(metrics.PROMPT_TOKENS.name, "engines")),
        ),
        shows="Tokens generated and prompt tokens processed, a second.",
        source="The engines' counters, over the window.",
        cannot="A prompt counts at the moment when it is complete, so long prompts come in jumps.",
    ),
    Panel(
        key="requests",
        title="Requests finished, by reason",
        kind="area",
        unit="per_second",
        queries=(Query(expression=rate(metrics.REQUEST_SUCCESS.name, "engines", by="finished_reason")),),
        shows="Requests that ended, a second: stop, length, abort, error.",
        source="The engines' counter, over the window.",
    ),
    Panel(
        key="errors",
        title="Failed requests",
        unit="share",
        queries=(Query(expression=share(f"({_FAILED} or 0 * {_ENDED})", _ENDED)),),
        limit=0.01,
        shows="Part of the requests at the gateway that failed: neither ok, nor the client's own error or hang-up.",
        source="gateway_requests_total by outcome, over the window.",
        cannot="There is no value while no request ends. Direct traffic to engines is not in it.",
    ),
    Panel(
        key="outcomes",
        title="Requests at the gateway, by outcome",
        kind="area",
        unit="per_second",
        queries=(Query(expression=rate(gateway_metrics.REQUESTS.name, "classes", by="outcome")),),
        shows="How requests ended: ok, refused, timed out, failed.",
        source="gateway_requests_total, over the window.",
    ),
)

_WAITED = (
    Panel(
        key="ttft",
        title="Time to first token",
        kind="percentiles",
        unit="seconds",
        queries=percentiles(metrics.TIME_TO_FIRST_TOKEN.name, "engines"),
        shows="Arrival at the engine to the first token.",
        source="The engines' histogram, summed over engines, requests of the window only.",
        cannot="Within a bucket the value is interpolated. The wait at gateway and router comes on top.",
    ),
    Panel(
        key="tpot",
        title="Time per output token",
        kind="percentiles",
        unit="seconds",
        queries=percentiles(metrics.TIME_PER_OUTPUT_TOKEN.name, "engines"),
        shows="Mean gap between the tokens of a request, the first token excluded.",
        source="The engines' histogram of finished requests.",
        cannot="A request counts when it ends. A stall inside a long answer shows in the inter-token latency first.",
    ),
    Panel(
        key="e2e",
        title="End to end, at the gateway",
        kind="percentiles",
        unit="seconds",
        queries=percentiles(gateway_metrics.REQUEST_SECONDS.name, "classes"),
        shows="Arrival at the gateway to the last byte, requests that ended well.",
        source="The gateway's histogram, requests of the window only.",
    ),
    Panel(
        key="sla",
        title="Promises kept",
        unit="share",
        queries=(
            Query(
                expression=share(
                    rate(gateway_metrics.SLA_REQUESTS.name, "classes", matchers='met="yes"'),
                    rate(gateway_metrics.SLA_REQUESTS.name, "classes"),
                )
            ),
        ),
        shows="Part of the requests that met every target of their class.",
        source="gateway_sla_requests_total, over the window.",
        cannot="There is no value while no request ends.",
    ),
)

_NEAR = (
    Panel(
        key="queue",
        title="Waiting at the gateway",
        kind="area",
        unit="count",
        queries=(Query(expression=f"sum by (class) ({gateway_metrics.QUEUE_DEPTH.name}{{$classes}})"),),
        shows="Requests that wait for an engine slot, by class.",
        source="Gauge of the gateway.",
    ),
    Panel(
        key="load",
        title="Running and waiting in engines",
        unit="count",
        queries=(
            Query(name="running", expression=total(metrics.REQUESTS_RUNNING.name, "engines")),
            Query(name="waiting", expression=total(metrics.REQUESTS_WAITING.name, "engines")),
        ),
        shows="Requests in the batches and in the queues of the engines.",
        source="Gauges of the engines.",
    ),
    Panel(
        key="kv-usage",
        title="KV cache used, by engine",
        unit="share",
        queries=(Query(expression=f"max by (instance) ({metrics.KV_CACHE_USAGE.name}{{$engines}})"),),
        limit=0.95,
        shows="Usage of each engine's KV cache.",
        source="Gauge of the engines.",
        cannot="Cached prefixes that no request uses count as free.",
    ),
    Panel(
        key="preemptions",
        title="Preemptions",
        unit="per_second",
        queries=(Query(expression=rate(metrics.PREEMPTIONS.name, "engines")),),
        shows="Requests that lost their KV blocks to others, a second.",
        source="The engines' counter, over the window.",
    ),
)

OVERVIEW = Board(
    key="overview",
    title="Overview",
    filters=("model", "engine", "class"),
    sections=(
        Section(title="Now", panels=_NOW),
        Section(title="Served", panels=_SERVED),
        Section(title="Waited for", panels=_WAITED),
        Section(title="Running out", panels=_NEAR),
    ),
)
