"""An OTLP receiver for tests, and the tree of spans that it gets."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from support import eventually

from llm_lab.ports import HOST
from llm_lab.service import Running

LONGEST_LAG_NS = 5_000_000_000


@dataclass(frozen=True)
class Span:
    """A span as it came over the wire; times in nanoseconds."""

    id: str
    parent: str
    name: str
    service: str
    begin: int
    end: int
    attributes: dict[str, Any]
    events: list[str]
    failed: bool


@dataclass
class Receiver:
    """The spans that have arrived, by trace id, and the bodies that brought them."""

    url: str = ""
    traces: dict[str, list[Span]] = field(default_factory=dict)
    bodies: list[bytes] = field(default_factory=list)

    def take(self, body: bytes) -> None:
        self.bodies.append(body)
        for group in ExportTraceServiceRequest.FromString(body).resource_spans:
            service = {one.key: one.value.string_value for one in group.resource.attributes}["service.name"]
            for span in (span for scope in group.scope_spans for span in scope.spans):
                self.traces.setdefault(span.trace_id.hex(), []).append(_span(span, service))

    def trace(self, trace_id: str, roots: int) -> list[Span]:
        """Return the spans of a trace once `roots` spans named SERVICE.request have arrived."""

        def complete() -> bool:
            return sum(one.name.endswith(".request") for one in self.traces.get(trace_id, [])) >= roots

        assert eventually(complete), [span.name for span in self.traces.get(trace_id, [])]
        return self.traces[trace_id]


@contextmanager
def receiving() -> Iterator[Receiver]:
    """Run a receiver of OTLP over HTTP."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            receiver.take(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    with ThreadingHTTPServer((HOST, 0), Handler) as server:
        receiver.url = f"http://{HOST}:{server.server_port}/v1/traces"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield receiver
        finally:
            server.shutdown()
            thread.join()


@dataclass(frozen=True)
class TracedStack:
    """Two engines, a router in front of them and a gateway in front of that, and the receiver of their spans."""

    receiver: Receiver
    engines: list[Running]
    router: Running
    gateway: Running

    @property
    def services(self) -> list[Running]:
        return [*self.engines, self.router, self.gateway]


def children(spans: list[Span], parent: Span) -> list[Span]:
    """Return a span's children by their begin."""
    return sorted((span for span in spans if span.parent == parent.id), key=lambda span: (span.begin, span.name))


def outline(spans: list[Span], parent: str) -> list[Any]:
    """Return the tree below a span id as nested lists: [name, [child, …], …]."""
    below = sorted((span for span in spans if span.parent == parent), key=lambda span: (span.begin, span.name))
    return [[span.name, *outline(spans, span.id)] for span in below]


def not_nested(spans: list[Span]) -> list[str]:
    """Return the spans that do not lie within their parent.

    In another process a child can end a little after its parent: the parent ends with the last byte, or when its client
    hangs up, and the child once it has noticed that.
    """
    by_id = {span.id: span for span in spans}
    found = []
    for span, parent in ((span, by_id[span.parent]) for span in spans if span.parent in by_id):
        lag = 0 if span.service == parent.service else LONGEST_LAG_NS
        if not parent.begin <= span.begin <= span.end <= parent.end + lag:
            found.append(f"{span.name} in {parent.name}")
    return found


def log_lines(path: Path) -> list[dict[str, Any]]:
    """Return the JSON lines of a service's log. The router prints its URL on stdout, which is no line of the log."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines if not line.startswith("http://")]


def _span(span: Any, service: str) -> Span:
    return Span(
        id=span.span_id.hex(),
        parent=span.parent_span_id.hex(),
        name=span.name,
        service=service,
        begin=span.start_time_unix_nano,
        end=span.end_time_unix_nano,
        attributes={one.key: _value(one.value) for one in span.attributes},
        events=[event.name for event in span.events],
        failed=span.status.code == 2,
    )


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    found = getattr(value, kind)
    return [_value(one) for one in found.values] if kind == "array_value" else found
