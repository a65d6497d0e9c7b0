"""Spans by OTLP/HTTP, and a trace as a waterfall. Gateway, router, our engine and vLLM send them.

Bounded: the oldest traces go first. Of a span's attributes only those of ATTRIBUTES are kept, which hold names, numbers
and outcomes; no text of a prompt or an answer stays here, whatever a sender puts into its spans.

https://opentelemetry.io/docs/specs/otlp/#otlphttp
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from statistics import median
from typing import Any

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from llm_monitor.web.api import json_response

CONTENT_TYPE = "application/x-protobuf"
MAX_TRACES = 2_000
MAX_SPANS = 200
"""Most spans of one trace."""
MAX_BODY_BYTES = 4 * 1024 * 1024
"""Size of one batch, after decompression."""
MAX_TEXT = 120
"""Characters of a name or an attribute's value."""
LISTED = 100
SUMMARISED = 200
"""Traces whose phases the medians are taken over, the newest."""
ATTRIBUTES = frozenset(
    {
        "error.type",
        "gen_ai.operation.name",
        "gen_ai.request.choice.count",
        "gen_ai.request.id",
        "gen_ai.request.max_tokens",
        "gen_ai.request.model",
        "gen_ai.request.seed",
        "gen_ai.request.stream",
        "gen_ai.request.temperature",
        "gen_ai.request.top_k",
        "gen_ai.request.top_p",
        "gen_ai.response.finish_reasons",
        "gen_ai.response.model",
        "gen_ai.response.time_to_first_chunk",
        "gen_ai.usage.cache_read.input_tokens",
        "gen_ai.usage.input_tokens",
        "gen_ai.usage.output_tokens",
        "gen_ai.usage.completion_tokens",
        "gen_ai.usage.prompt_tokens",
        "gen_ai.latency.time_in_queue",
        "gen_ai.latency.time_to_first_token",
        "gen_ai.latency.e2e",
        "gen_ai.latency.time_in_model_decode",
        "gen_ai.latency.time_in_model_prefill",
        "http.response.status_code",
        "llm_engine.accepted_tokens",
        "llm_engine.choice",
        "llm_engine.draft_tokens",
        "llm_engine.outcome",
        "llm_engine.preemptions",
        "llm_engine.prefill_steps",
        "llm_gateway.class",
        "llm_gateway.engine",
        "llm_gateway.outcome",
        "llm_gateway.queue_wait",
        "llm_gateway.tenant",
        "llm_router.engine",
        "llm_router.outcome",
        "llm_router.policy",
        "llm_router.tokens",
        "url.path",
    }
)


@dataclass(frozen=True, slots=True)
class Span:
    """A span; times are Unix seconds."""

    id: str
    parent: str
    name: str
    service: str
    start: float
    end: float
    failed: bool
    attributes: dict[str, str | int | float | bool]

    def to_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(slots=True)
class Trace:
    spans: dict[str, Span] = field(default_factory=dict)
    dropped: int = 0

    @property
    def root(self) -> Span:
        """Return the first span without a parent among those that arrived."""
        orphans = [span for span in self.spans.values() if span.parent not in self.spans]
        return min(orphans or self.spans.values(), key=lambda span: span.start)


class Traces:
    """The traces of the last requests, by trace id."""

    def __init__(self, max_traces: int = MAX_TRACES) -> None:
        self._max_traces = max_traces
        self._traces: OrderedDict[str, Trace] = OrderedDict()

    def add(self, batch: ExportTraceServiceRequest) -> None:
        for group in batch.resource_spans:
            service = next((one.value.string_value for one in group.resource.attributes if one.key == _SERVICE), "")
            for span in (span for scope in group.scope_spans for span in scope.spans):
                self._put(span.trace_id.hex(), _span(span, service[:MAX_TEXT]))

    def get(self, trace_id: str) -> list[Span] | None:
        """Return a trace's spans by start, parents before their children; None if it is not known."""
        trace = self._traces.get(trace_id)
        return None if trace is None else _ordered(trace.spans.values())

    def newest(self, outcome: str = "", slowest: bool = False) -> list[dict[str, Any]]:
        """List the newest traces, or the slowest of all, by their root span."""
        rows = [_row(key, trace) for key, trace in reversed(self._traces.items())]
        rows = [row for row in rows if not outcome or (outcome == "failed") == row["failed"]]
        return sorted(rows, key=lambda row: -row["seconds"] if slowest else -row["start"])[:LISTED]

    def phases(self) -> dict[str, float]:
        """Return the median seconds of each phase of the newest traces, by the phase's name, in order of time."""
        found: dict[str, list[float]] = {}
        for trace in islice(reversed(self._traces.values()), SUMMARISED):
            for span in _ordered(trace.spans.values()):
                if not span.name.endswith((".request", ".upstream")):
                    found.setdefault(span.name, []).append(span.end - span.start)
        return {name: median(seconds) for name, seconds in found.items()}

    def _put(self, trace_id: str, span: Span) -> None:
        trace = self._traces.setdefault(trace_id, Trace())
        self._traces.move_to_end(trace_id)
        if len(trace.spans) < MAX_SPANS or span.id in trace.spans:
            trace.spans[span.id] = span
        else:
            trace.dropped += 1
        while len(self._traces) > self._max_traces:
            self._traces.popitem(last=False)

    # --- HTTP -----------------------------------------------------------------------------------------------------

    def add_routes(self, app: web.Application) -> None:
        app.router.add_post("/v1/traces", self._receive)
        app.router.add_get("/api/traces", self._list)
        app.router.add_get("/api/traces/phases", self._phases)
        app.router.add_get("/api/traces/{id:[0-9a-f]{32}}", self._show)

    async def _receive(self, request: web.Request) -> web.Response:
        """Handle POST /v1/traces: protobuf, aiohttp undoes gzip."""
        if request.content_type != CONTENT_TYPE:
            return web.Response(status=415, text=f"send {CONTENT_TYPE}\n")
        body = await request.read()
        try:
            batch = ExportTraceServiceRequest.FromString(body)
        except Exception as error:  # noqa: BLE001  protobuf's DecodeError, whose package is not one of ours
            return web.Response(status=400, text=f"no ExportTraceServiceRequest: {error}\n")
        self.add(batch)
        return web.Response(body=ExportTraceServiceResponse().SerializeToString(), content_type=CONTENT_TYPE)

    async def _list(self, request: web.Request) -> web.Response:
        query = request.query
        return json_response(self.newest(query.get("outcome", ""), query.get("order") == "slowest"))

    async def _phases(self, _: web.Request) -> web.Response:
        return json_response(self.phases())

    async def _show(self, request: web.Request) -> web.Response:
        spans = self.get(request.match_info["id"])
        if spans is None:
            return json_response({"error": "no span of this trace has arrived, or it is too old"}, status=404)
        return json_response([span.to_json() for span in spans])


_SERVICE = "service.name"
_KINDS = ("string_value", "int_value", "double_value", "bool_value")


def _span(span: Any, service: str) -> Span:
    kept = {one.key: _plain(one.value) for one in span.attributes if one.key in ATTRIBUTES}
    attributes = {name: value for name, value in kept.items() if value is not None}
    return Span(
        id=span.span_id.hex(),
        parent=span.parent_span_id.hex(),
        name=span.name[:MAX_TEXT],
        service=service,
        start=span.start_time_unix_nano / 1e9,
        end=max(span.start_time_unix_nano, span.end_time_unix_nano) / 1e9,
        failed=span.status.code == _ERROR,
        attributes=attributes,
    )


_ERROR = 2
"""opentelemetry.proto.trace.v1.Status.STATUS_CODE_ERROR"""


def _plain(value: Any) -> str | int | float | bool | None:
    """Return an attribute's value, a list joined by commas; None for a kind that is not shown."""
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return ", ".join(one.string_value for one in value.array_value.values)[:MAX_TEXT]
    if kind not in _KINDS:
        return None
    found: str | int | float | bool = getattr(value, kind)
    return found[:MAX_TEXT] if isinstance(found, str) else found


def _row(trace_id: str, trace: Trace) -> dict[str, Any]:
    root = trace.root
    return {
        "id": trace_id,
        "name": root.name,
        "service": root.service,
        "start": root.start,
        "seconds": max(span.end for span in trace.spans.values()) - root.start,
        "failed": any(span.failed or "error.type" in span.attributes for span in trace.spans.values()),
        "spans": len(trace.spans),
        "dropped": trace.dropped,
        "attributes": root.attributes,
    }


def _ordered(spans: Iterable[Span]) -> list[Span]:
    """Return spans depth first, siblings by start. A cycle of parents, which no tracer sends, is cut."""
    by_start = sorted(spans, key=lambda span: (span.start, -span.end))
    known = {span.id for span in by_start}
    children: dict[str, list[Span]] = {}
    for span in by_start:
        children.setdefault(span.parent if span.parent in known else "", []).append(span)
    found = _below(children.get("", ()), children)
    return found + [span for span in by_start if span not in found]


def _below(level: Sequence[Span], children: dict[str, list[Span]]) -> list[Span]:
    found: list[Span] = []
    waiting = list(reversed(level))
    while waiting:
        span = waiting.pop()
        found.append(span)
        waiting += reversed(children.get(span.id, ()))
    return found
