"""The router: models, their queue, replicas and what happened to them."""

from __future__ import annotations

from llm_contract import router_metrics as names
from llm_monitor.boards.panel import Board, Panel, Query, Section
from llm_monitor.boards.shorthand import percentiles, rate

_MODELS = (
    Panel(
        key="outcomes",
        title="Requests, by outcome",
        kind="area",
        unit="per_second",
        queries=(Query(expression=rate(names.REQUESTS.name, "models", by="outcome")),),
        shows="How requests ended at the edge.",
        source="Counter of the router, over the window.",
    ),
    Panel(
        key="first-byte",
        title="Time to first byte",
        kind="percentiles",
        unit="seconds",
        queries=percentiles(names.TIME_TO_FIRST_BYTE.name, "models"),
        shows="Arrival at the edge to the first byte sent on.",
        source="Histogram of the router, requests of the window only.",
    ),
    Panel(
        key="request",
        title="End to end",
        kind="percentiles",
        unit="seconds",
        queries=percentiles(names.REQUEST_SECONDS.name, "models"),
        shows="Arrival to the last byte, requests that ended well.",
        source="Histogram of the router, requests of the window only.",
        cannot="The smallest bucket ends at 0.3 s. Percentiles below it are shown as “< 300 ms”.",
    ),
    Panel(
        key="depth",
        title="Waiting, by model",
        kind="area",
        unit="count",
        queries=(Query(expression=f"sum by (model) ({names.QUEUE_DEPTH.name}{{$models}})"),),
        shows="Requests that wait for room at an engine.",
        source="Gauge of the router.",
    ),
    Panel(
        key="wait",
        title="Wait for a slot",
        kind="percentiles",
        unit="seconds",
        queries=percentiles(names.QUEUE_WAIT.name, "models"),
        shows="Arrival to a slot at an engine.",
        source="Histogram of the router, requests of the window only.",
    ),
)

_REPLICAS = (
    Panel(
        key="replicas",
        title="Replicas up, by model",
        unit="count",
        queries=(
            Query(name="up", expression=f"sum by (model) ({names.ENGINE_UP.name}{{$replicas}})"),
            Query(name="all", expression=f"count by (model) ({names.ENGINE_UP.name}{{$replicas}})"),
        ),
        shows="Engines that take requests, and all that the edge knows. A rollout shows as a step up and down again.",
        source="Gauge of the router; the series of an engine ends with it.",
    ),
    Panel(
        key="in-flight",
        title="In flight, by engine",
        unit="count",
        queries=(Query(expression=f"sum by (engine) ({names.IN_FLIGHT.name}{{$replicas}})"),),
        shows="Requests of this edge at each engine. Equal lines: the balancing works.",
        source="Gauge of the router.",
    ),
    Panel(
        key="load",
        title="Load, by engine",
        unit="count",
        queries=(Query(expression=f"max by (engine) ({names.LOAD.name}{{$replicas}})"),),
        shows="Requests at each engine, those of other clients included.",
        source="Gauge of the router, from the engines' own metrics.",
    ),
    Panel(
        key="kv-usage",
        title="KV cache used, as the edge sees it",
        unit="share",
        limit=0.95,
        queries=(Query(expression=f"max by (engine) ({names.KV_USAGE.name}{{$replicas}})"),),
        shows="Usage of each engine's KV cache as the edge last heard it.",
        source="Gauge of the router.",
    ),
    Panel(
        key="attempts",
        title="Exchanges, by outcome",
        kind="area",
        unit="per_second",
        queries=(Query(expression=f"sum by (outcome) (rate({names.ATTEMPTS.name}{{$replicas}}[$window]))"),),
        shows="Exchanges with engines: ok, or the phase that failed.",
        source="Counter of the router, over the window.",
    ),
    Panel(
        key="ejections",
        title="Ejections, by cause",
        kind="area",
        unit="per_second",
        queries=(Query(expression=f"sum by (cause) (rate({names.EJECTIONS.name}{{$replicas}}[$window]))"),),
        shows="Times that the edge took an engine out.",
        source="Counter of the router, over the window.",
    ),
    Panel(
        key="reattempts",
        title="Reattempts, by reason",
        kind="area",
        unit="per_second",
        queries=(Query(expression=rate(names.REATTEMPTS.name, "models", by="reason")),),
        shows="Retries before the first byte, replays of broken streams after it.",
        source="Counter of the router, over the window.",
    ),
    Panel(
        key="broken",
        title="Broken streams, by ending",
        kind="area",
        unit="per_second",
        queries=(Query(expression=rate(names.BROKEN_STREAMS.name, "models", by="ending")),),
        shows="Streams whose engine failed in mid-answer: replayed elsewhere, or ended with an error.",
        source="Counter of the router, over the window.",
    ),
)

ROUTER = Board(
    key="router",
    title="Router",
    filters=("model", "engine"),
    sections=(Section(title="Models", panels=_MODELS), Section(title="Replicas", panels=_REPLICAS)),
)
