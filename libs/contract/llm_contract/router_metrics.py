"""The router's metric names, with kind, labels and buckets. Times are seconds. A series of an engine ends with it."""

from __future__ import annotations

from llm_contract.metrics import REQUEST_BUCKETS, TTFT_BUCKETS, Metric

MODEL = ("model",)
ENGINE = ("model", "engine")

REQUESTS = Metric(
    "router_requests_total",
    "counter",
    "Requests by how they ended: ok, engine_rejected, or an error kind.",
    ("model", "policy", "outcome"),
)
ATTEMPT_OUTCOMES = ("ok", "connect", "headers", "body", "answer")
ATTEMPTS = Metric(
    "router_attempts_total",
    "counter",
    "Exchanges with an engine by how they ended: ok, or the phase that failed: connect, headers, body, answer.",
    ("model", "engine", "policy", "outcome"),
)
REATTEMPTS = Metric(
    "router_reattempts_total",
    "counter",
    "Times that a request went to an engine again: retry before its first byte, replay of a broken stream after it.",
    ("model", "reason"),
)
BROKEN_STREAMS = Metric(
    "router_broken_streams_total",
    "counter",
    "Streams whose engine failed in mid-answer, by how they went on: replayed, or ended with an error event.",
    ("model", "ending"),
)
QUEUE_DEPTH = Metric("router_queue_depth", "gauge", "Requests that wait for room at an engine.", MODEL)
QUEUE_WAIT = Metric(
    "router_queue_wait_seconds", "histogram", "Arrival to a slot at an engine.", MODEL, buckets=(0.0, *TTFT_BUCKETS)
)
TIME_TO_FIRST_BYTE = Metric(
    "router_time_to_first_byte_seconds",
    "histogram",
    "Arrival to the first body byte sent to the client.",
    MODEL,
    buckets=TTFT_BUCKETS,
)
REQUEST_SECONDS = Metric(
    "router_request_seconds", "histogram", "Arrival to last byte, of requests that ended well.", MODEL, REQUEST_BUCKETS
)
ENGINE_UP = Metric("router_engine_up", "gauge", "1 if the engine takes requests, else 0.", ENGINE)
IN_FLIGHT = Metric("router_in_flight", "gauge", "Requests of this edge at the engine.", ENGINE)
LOAD = Metric("router_engine_load", "gauge", "Requests at the engine, those of other clients included.", ENGINE)
KV_USAGE = Metric("router_engine_kv_usage", "gauge", "KV-cache usage as last reported; 1 means 100 percent.", ENGINE)
EJECTIONS = Metric(
    "router_ejections_total",
    "counter",
    "Times that this edge took an engine out, by cause: connect, reset, progress, health.",
    ("model", "engine", "cause"),
)

ROUTER_METRICS: tuple[Metric, ...] = tuple(value for value in list(globals().values()) if isinstance(value, Metric))
"""Every router metric above, in order."""
