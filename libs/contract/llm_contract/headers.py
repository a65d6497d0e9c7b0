"""HTTP header names. Durations in headers are milliseconds; everywhere else they are seconds."""

from __future__ import annotations

import re
from collections.abc import Mapping

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
API_KEY = "x-api-key"
"""Where Anthropic's clients have their key."""
REQUEST_ID = "x-request-id"
TRACEPARENT = "traceparent"
"""W3C's: version, trace id, parent span's id and flags, joined by dashes."""
RETRY_AFTER = "retry-after"
"""Whole seconds, as RFC 9110 wants it."""

QUEUE_WAIT_MS = "x-queue-wait-ms"
"""Response: how long the gateway held the request before an engine had a slot for it."""
ENGINE = "x-engine"
"""Response: the name of the engine that answered."""

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")


def trace_id(request_headers: Mapping[str, str]) -> str | None:
    """Return the 32 hex digits that name the caller's trace; None without a `traceparent`, or with a broken one."""
    match = _TRACEPARENT.match(request_headers.get(TRACEPARENT, ""))
    return match[1] if match and match[1].strip("0") else None
