"""The gateway: classes and their waits, engines as it sees them, promises, tenants."""

from __future__ import annotations

from llm_contract import gateway_metrics as names
from llm_monitor.boards.panel import Board, Panel, Query, Section
from llm_monitor.boards.shorthand import percentiles, rate, share

_CLASSES = (
    Panel(
        key="depth",
        title="Waiting, by class",
        kind="area",
        unit="count",
        queries=(Query(expression=f"sum by (class) ({names.QUEUE_DEPTH.name}{{$classes}})"),),
        shows="Requests that wait for an engine slot.",
        source="Gauge of the gateway.",
    ),
    Panel(
        key="wait",
        title="Wait for a slot, P99 by class",
        unit="seconds",
        queries=(
            Query(
                expression=f"histogram_quantile(0.99, sum by (le, class) "
                f"(rate({names.QUEUE_WAIT.name}_bucket{{$classes}}[$window])))"
            ),
        ),
        shows="Arrival to an engine slot, 99th percentile.",
        source="Histogram of the gateway, requests of the window only.",
        cannot="A request that still waits is not in it; see the depth.",
    ),
    Panel(
        key="bound",
        title="Wait bound, by class",
        unit="seconds",
        queries=(Query(expression=f"max by (class) ({names.WAIT_BOUND.name}{{$classes}} < +Inf)"),),
        shows="Longest wait that the policy allows at the present service rate.",
        source="Gauge of the gateway.",
        cannot="A class without a bound, and every class while no engine is up, has no line.",
    ),
    Panel(
        key="violations",
        title="Wait bound violated",
        unit="per_second",
        queries=(Query(expression=f"sum by (class) (rate({names.WAIT_BOUND_VIOLATIONS.name}{{$classes}}[$window]))"),),
        shows="Grants that passed an overdue request. Anything above 0 is a defect of the scheduler.",
        source="Counter of the gateway, over the window.",
    ),
    Panel(
        key="first-byte",
        title="Time to first byte",
        kind="percentiles",
        unit="seconds",
        queries=percentiles(names.TIME_TO_FIRST_BYTE.name, "classes"),
        shows="Arrival at the gateway to the first byte sent to the client: the wait is in it.",
        source="Histogram of the gateway, requests of the window only.",
    ),
    Panel(
        key="request",
        title="End to end",
        kind="percentiles",
        unit="seconds",
        queries=percentiles(names.REQUEST_SECONDS.name, "classes"),
        shows="Arrival to the last byte, requests that ended well.",
        source="Histogram of the gateway, requests of the window only.",
        cannot="The smallest bucket ends at 0.3 s. Percentiles below it are shown as “< 300 ms”.",
    ),
)

_OUTCOMES = (
    Panel(
        key="outcomes",
        title="Requests, by outcome",
        kind="area",
        unit="per_second",
        queries=(Query(expression=rate(names.REQUESTS.name, "classes", by="outcome")),),
        shows="How requests ended.",
        source="Counter of the gateway, over the window.",
    ),
    Panel(
        key="sla",
        title="Promises kept, by class",
        unit="share",
        queries=(
            Query(
                expression=share(
                    f'sum by (class) (rate({names.SLA_REQUESTS.name}{{$classes,met="yes"}}[$window]))',
                    f"sum by (class) (rate({names.SLA_REQUESTS.name}{{$classes}}[$window]))",
                )
            ),
        ),
        shows="Part of the requests that met every target of their class.",
        source="Counter of the gateway, over the window.",
        cannot="There is no value while no request ends.",
    ),
    Panel(
        key="broken",
        title="Broken promises, by kind",
        kind="area",
        unit="per_second",
        queries=(Query(expression=rate(names.SLA_VIOLATIONS.name, "classes", by="kind")),),
        shows="ttft, tpot, deadline, failed, rejected. A request can break several.",
        source="Counter of the gateway, over the window.",
    ),
    Panel(
        key="reattempts",
        title="Reattempts, by reason",
        kind="area",
        unit="per_second",
        queries=(Query(expression=rate(names.REATTEMPTS.name, "classes", by="reason")),),
        shows="Times that a request went to an engine again: preempted, retry, hedge, resume.",
        source="Counter of the gateway, over the window.",
    ),
    Panel(
        key="shed",
        title="Shed, by class",
        unit="per_second",
        queries=(Query(expression=f"sum by (class) (rate({names.SHED.name}{{$classes}}[$window]))"),),
        shows="Requests refused because the queue fills.",
        source="Counter of the gateway, over the window.",
    ),
)

_SLOTS = (
    Panel(
        key="in-flight",
        title="Slots taken, by engine",
        unit="share",
        queries=(
            Query(
                expression=f"sum by (engine) ({names.IN_FLIGHT.name}{{$slots}}) "
                f"/ (sum by (engine) ({names.IN_FLIGHT_LIMIT.name}{{$slots}}) > 0)"
            ),
        ),
        shows="Part of an engine's slots that are taken.",
        source="Two gauges of the gateway.",
    ),
    Panel(
        key="kv-budget",
        title="KV budget taken, by engine",
        unit="share",
        queries=(
            Query(
                expression=f"sum by (engine) ({names.ENGINE_KV_USED.name}{{$slots}}) "
                f"/ (sum by (engine) ({names.ENGINE_KV_BUDGET.name}{{$slots}}) > 0)"
            ),
        ),
        shows="Prompt and predicted output tokens in flight, of what the engine's KV cache holds.",
        source="Two gauges of the gateway.",
        cannot="The output is a prediction. An engine whose KV capacity is not known has no line.",
    ),
    Panel(
        key="failures",
        title="Engine failures, by phase",
        kind="area",
        unit="per_second",
        queries=(Query(expression=f"sum by (phase) (rate({names.ENGINE_FAILURES.name}{{$slots}}[$window]))"),),
        shows="Failed exchanges with engines: connect, headers, body, answer.",
        source="Counter of the gateway, over the window.",
    ),
    Panel(
        key="breakers",
        title="Circuit breakers",
        unit="count",
        queries=(Query(expression=f"max by (engine) ({names.ENGINE_BREAKER.name}{{$slots}})"),),
        shows="0 closed, 1 half-open, 2 open.",
        source="Gauge of the gateway.",
    ),
    Panel(
        key="engines-up",
        title="Engines up",
        unit="count",
        queries=(Query(expression=f"sum({names.ENGINE_UP.name}{{$slots}})"),),
        shows="Engines that take requests of this gateway.",
        source="Gauge of the gateway.",
    ),
)

_TENANTS = (
    Panel(
        key="tenant-requests",
        title="Requests let in, by tenant",
        kind="area",
        unit="per_second",
        queries=(Query(expression=f"sum by (tenant) (rate({names.TENANT_REQUESTS.name}{{$tenants}}[$window]))"),),
        shows="Requests that passed the tenant's limits.",
        source="Counter of the gateway, over the window.",
    ),
    Panel(
        key="tenant-tokens",
        title="Tokens, by tenant",
        kind="area",
        unit="per_second",
        queries=(Query(expression=f"sum by (tenant) (rate({names.TENANT_TOKENS.name}{{$tenants}}[$window]))"),),
        shows="Prompt and output tokens.",
        source="Counter of the gateway, over the window.",
    ),
    Panel(
        key="tenant-limited",
        title="Refused by a limit, by tenant",
        unit="per_second",
        queries=(Query(expression=f"sum by (tenant) (rate({names.TENANT_LIMITED.name}{{$tenants}}[$window]))"),),
        shows="Requests refused by a tenant's own limit of requests or tokens.",
        source="Counter of the gateway, over the window.",
    ),
)

GATEWAY = Board(
    key="gateway",
    title="Gateway",
    filters=("class", "engine", "tenant"),
    sections=(
        Section(title="Classes", panels=_CLASSES),
        Section(title="Outcomes", panels=_OUTCOMES),
        Section(title="Engine slots", panels=_SLOTS),
        Section(title="Tenants", panels=_TENANTS),
    ),
)
