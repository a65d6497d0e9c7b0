"""The gateway's metric names, with kind, labels and buckets. Times are seconds; label values are few and known."""

from __future__ import annotations

from llm_contract.metrics import REQUEST_BUCKETS, TTFT_BUCKETS, Metric

CLASS = ("class",)
ENGINE = ("engine",)

REQUESTS = Metric(
    "gateway_requests_total",
    "counter",
    "Generation requests by how they ended: ok, engine_rejected, or an error kind.",
    ("class", "outcome"),
)
QUEUE_DEPTH = Metric("gateway_queue_depth", "gauge", "Requests that wait for an engine slot.", CLASS)
QUEUE_WAIT = Metric(
    "gateway_queue_wait_seconds", "histogram", "Arrival to engine slot.", CLASS, buckets=(0.0, *TTFT_BUCKETS)
)
WAIT_BOUND = Metric(
    "gateway_wait_bound_seconds",
    "gauge",
    "Longest wait that the policy allows at the present service rate; +Inf: there is no bound, or no engine is up.",
    CLASS,
)
WAIT_BOUND_VIOLATIONS = Metric(
    "gateway_wait_bound_violations_total",
    "counter",
    "Grants that passed an overdue request of the class with a smaller key. Not 0: the scheduler is wrong.",
    CLASS,
)
TIME_TO_FIRST_BYTE = Metric(
    "gateway_time_to_first_byte_seconds",
    "histogram",
    "Arrival to the first body byte sent to the client.",
    CLASS,
    buckets=TTFT_BUCKETS,
)
REQUEST_SECONDS = Metric(
    "gateway_request_seconds", "histogram", "Arrival to last byte, of requests that ended well.", CLASS, REQUEST_BUCKETS
)
IN_FLIGHT = Metric("gateway_in_flight", "gauge", "Engine slots taken.", ENGINE)
IN_FLIGHT_LIMIT = Metric("gateway_in_flight_limit", "gauge", "Engine slots there are.", ENGINE)
ENGINE_UP = Metric("gateway_engine_up", "gauge", "1 if the engine takes requests, else 0.", ENGINE)
ENGINE_FAILURE_PHASES = ("connect", "headers", "body", "answer")
ENGINE_FAILURES = Metric(
    "gateway_engine_failures_total",
    "counter",
    "Failed exchanges with an engine, by phase: connect, headers, body, answer (it answered an error).",
    ("engine", "phase"),
)
ENGINE_KV_USED = Metric(
    "gateway_engine_kv_used_tokens", "gauge", "Prompt and predicted output tokens of its requests in flight.", ENGINE
)
ENGINE_KV_BUDGET = Metric(
    "gateway_engine_kv_budget_tokens", "gauge", "What they may add up to; 0 if its KV capacity is not known.", ENGINE
)
ENGINE_BREAKER = Metric(
    "gateway_engine_breaker_state", "gauge", "Circuit breaker: 0 closed, 1 half-open, 2 open.", ENGINE
)
ENGINE_EJECTIONS = Metric(
    "gateway_engine_ejections_total", "counter", "Times it was taken out for making no progress.", ENGINE
)
REATTEMPTS = Metric(
    "gateway_reattempts_total",
    "counter",
    "Times that a request went to an engine again, by why: preempted, retry, hedge, resume.",
    ("class", "reason"),
)
SHED = Metric("gateway_shed_total", "counter", "Requests refused by graded shedding.", CLASS)

TENANT_REQUESTS = Metric("gateway_tenant_requests_total", "counter", "Requests let in, by tenant.", ("tenant",))
TENANT_TOKENS = Metric(
    "gateway_tenant_tokens_total", "counter", "Tokens by tenant and kind: prompt, output.", ("tenant", "kind")
)
TENANT_LIMITED = Metric(
    "gateway_tenant_limited_total",
    "counter",
    "Requests refused by a tenant's limit: requests, tokens.",
    ("tenant", "limit"),
)
CONFIG_RELOADS = Metric(
    "gateway_config_reloads_total",
    "counter",
    "Configuration reloads by result: applied, unchanged, refused.",
    ("result",),
)

SLA_REQUESTS = Metric(
    "gateway_sla_requests_total",
    "counter",
    "Requests by whether every target was met: yes, no. Not counted: client_closed and the client's own errors.",
    ("class", "met"),
)
SLA_VIOLATIONS = Metric(
    "gateway_sla_violations_total",
    "counter",
    "Broken promises by kind: ttft, tpot, deadline, failed, rejected. A request may break several.",
    ("class", "kind"),
)
SLA_DROPPED = Metric(
    "gateway_sla_dropped_total", "counter", "Requests missing in the SLA database, since it could not be written.", ()
)
FLEET_DEGRADED = Metric("gateway_fleet_degraded", "gauge", "1 while this replica cannot reach the fleet's Redis.", ())
FLEET_REPLICAS = Metric("gateway_fleet_replicas", "gauge", "Replicas of the fleet, as last known.", ())

GATEWAY_METRICS: tuple[Metric, ...] = tuple(value for value in list(globals().values()) if isinstance(value, Metric))
"""Every gateway metric above, in order."""
