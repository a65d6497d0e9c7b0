"""HTTP header names. Durations in headers are milliseconds; everywhere else they are seconds."""

PRIORITY = "x-priority"
"""Name of the priority class: `interactive`, `standard`, `batch`, or what the gateway's configuration calls them."""

SLO_TTFT_MS = "x-slo-ttft-ms"
SLO_TPOT_MS = "x-slo-tpot-ms"
DEADLINE_MS = "x-deadline-ms"
TENANT = "x-tenant"
SESSION = "x-session-id"
"""Requests that carry the same one want the same engine, whose cache holds what they share."""

EXPECT = "expect"
AUTHORIZATION = "authorization"
REQUEST_ID = "x-request-id"
TRACEPARENT = "traceparent"
RETRY_AFTER = "retry-after"
"""Whole seconds, as RFC 9110 wants it."""

QUEUE_WAIT_MS = "x-queue-wait-ms"
"""Response: how long the gateway held the request before an engine had a slot for it."""
ENGINE = "x-engine"
"""Response: the name of the engine that answered."""
