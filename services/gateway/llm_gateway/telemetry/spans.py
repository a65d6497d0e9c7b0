"""The spans of a request and their attributes, beside those of OpenTelemetry's conventions.

gateway.request         the server span; the client's `traceparent` is its parent
├─ gateway.admit        read, parse, classify
├─ gateway.queue        wait for a slot; once per attempt
└─ gateway.upstream     one exchange with an engine, which gets this span as its `traceparent`
"""

PROGRAM = "gateway"
ADMIT, QUEUE, UPSTREAM = "gateway.admit", "gateway.queue", "gateway.upstream"

CLASS = "llm_gateway.class"
TENANT = "llm_gateway.tenant"
QUEUE_WAIT = "llm_gateway.queue_wait"
"""Seconds, over all attempts."""
ENGINE = "llm_gateway.engine"
"""An attribute of gateway.upstream."""
