"""Spans through the in-memory exporter, and over OTLP to a test receiver."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import unused_port
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from pydantic import ValidationError

from llm_gateway.telemetry import spans as spans_of
from llm_proxy.telemetry import make_tracing, tracing
from llm_proxy.telemetry.batches import WAITING_SPANS
from llm_proxy.telemetry.otel import EXPORT_SECONDS, OtelTracing, otlp_exporter
from llm_proxy.telemetry.tracing import NO_SPAN, NO_TRACE, TracingSettings

CHAT = "/v1/chat/completions"
TRACE_ID, PARENT_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SAMPLED, UNSAMPLED = (f"00-{TRACE_ID}-{PARENT_ID}-{flags}" for flags in ("01", "00"))


class Spans(InMemorySpanExporter):
    def by_name(self) -> dict[str, ReadableSpan]:
        return {span.name: span for span in self.get_finished_spans()}


@contextmanager
def traced(exporter: SpanExporter, sample_ratio: float = 1.0) -> Iterator[OtelTracing]:
    made = OtelTracing("gateway", TracingSettings(sample_ratio=sample_ratio), exporter)
    try:
        yield made
    finally:
        made.close()


class Discarding(SpanExporter):
    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return SpanExportResult.SUCCESS


DISCARDING = OtelTracing("gateway", TracingSettings(), Discarding())


def parsed(headers: dict[str, str]) -> tuple[str, str, bool]:
    """Return trace id, parent id and the sampled flag."""
    version, trace_id, span_id, flags = headers["traceparent"].split("-")
    assert version == "00"
    return trace_id, span_id, bool(int(flags, 16) & 1)


def one_request(made: OtelTracing, headers: dict[str, str]) -> dict[str, str]:
    """Send one request and return the headers that the engine gets."""
    sent = dict(headers)
    trace = made.begin(headers, CHAT)
    with trace.span(spans_of.ADMIT):
        trace.set(tracing.MODEL, "main")
        trace.set(tracing.MAX_TOKENS, None)
    with trace.span(spans_of.QUEUE):
        pass
    with trace.span(spans_of.UPSTREAM) as span:
        span.set(spans_of.ENGINE, "e0")
        span.inject(sent)
        trace.event(tracing.FIRST_TOKEN)
    trace.set(tracing.OUTPUT_TOKENS, 7)
    trace.end("ok", 200)
    return sent


def test_a_request_is_a_tree_of_four_spans() -> None:
    spans = Spans()
    with traced(spans) as made:
        sent = one_request(made, {})
        made.flush()
        found = spans.by_name()
    assert set(found) == {"gateway.request", spans_of.ADMIT, spans_of.QUEUE, spans_of.UPSTREAM}
    root = found.pop("gateway.request")
    assert root.parent is None
    assert root.kind is SpanKind.SERVER
    assert root.attributes == {
        "url.path": CHAT,
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "main",
        "gen_ai.usage.output_tokens": 7,
        "llm_gateway.outcome": "ok",
        "http.response.status_code": 200,
    }
    assert [event.name for event in root.events] == ["first_token"]
    for span in found.values():
        assert span.parent is not None
        assert span.parent.span_id == root.context.span_id
        assert span.kind is (SpanKind.CLIENT if span.name == spans_of.UPSTREAM else SpanKind.INTERNAL)
    upstream = found[spans_of.UPSTREAM]
    assert upstream.attributes == {"llm_gateway.engine": "e0"}
    assert set(sent) == {"traceparent"}
    assert parsed(sent) == (f"{root.context.trace_id:032x}", f"{upstream.context.span_id:016x}", True)


def test_the_clients_trace_goes_on_through_the_gateway_to_the_engine() -> None:
    spans = Spans()
    with traced(spans, sample_ratio=0.0) as made:
        sent = one_request(made, {"traceparent": SAMPLED, "tracestate": "vendor=1"})
        made.flush()
    root, upstream = spans.by_name()["gateway.request"], spans.by_name()[spans_of.UPSTREAM]
    assert f"{root.context.trace_id:032x}" == TRACE_ID
    assert root.parent is not None
    assert f"{root.parent.span_id:016x}" == PARENT_ID
    assert parsed(sent) == (TRACE_ID, f"{upstream.context.span_id:016x}", True)
    assert sent["tracestate"] == "vendor=1"


@pytest.mark.parametrize(("headers", "ratio"), [({"traceparent": UNSAMPLED}, 1.0), ({}, 0.0)])
def test_what_is_not_sampled_makes_no_span_and_the_engine_is_told(headers: dict[str, str], ratio: float) -> None:
    spans = Spans()
    with traced(spans, ratio) as made:
        sent = one_request(made, headers)
        made.flush()
    assert spans.get_finished_spans() == ()
    trace_id, _, sampled = parsed(sent)
    assert not sampled
    assert (trace_id == TRACE_ID) == bool(headers)


@pytest.mark.parametrize("headers", [{}, {"traceparent": "00-broken-01"}])
def test_the_ratio_decides_about_traces_that_begin_here(headers: dict[str, str]) -> None:
    spans = Spans()
    with traced(spans, sample_ratio=0.25) as made:
        sent = [parsed(one_request(made, dict(headers))) for _ in range(400)]
        made.flush()
    roots = [span for span in spans.get_finished_spans() if span.name == "gateway.request"]
    assert len({trace_id for trace_id, _, _ in sent}) == 400
    assert sum(sampled for _, _, sampled in sent) == len(roots)
    assert 50 < len(roots) < 150


@given(st.text(max_size=70), st.text(max_size=70))
def test_a_malformed_traceparent_begins_a_new_trace_and_its_tracestate_goes_no_further(
    traceparent: str, tracestate: str
) -> None:
    sent = one_request(DISCARDING, {"traceparent": traceparent, "tracestate": tracestate})
    trace_id, span_id, sampled = parsed(sent)
    assert (len(trace_id), len(span_id), sampled) == (32, 16, True)
    assert "tracestate" not in sent


def test_an_error_is_noted_where_it_happened_and_how_the_request_ended() -> None:
    spans = Spans()
    with traced(spans) as made:
        trace = made.begin({}, CHAT)
        with pytest.raises(ConnectionError), trace.span(spans_of.UPSTREAM):
            raise ConnectionError("broke off")
        trace.end("engine_failed", 502)
        made.begin({}, CHAT).end("queue_full", 429)
        made.flush()
    upstream, failed, rejected = spans.get_finished_spans()
    assert (upstream.status.status_code, upstream.status.description) == (StatusCode.ERROR, None)
    assert upstream.attributes == {"error.type": "ConnectionError"}
    assert failed.status.status_code is StatusCode.ERROR
    assert failed.attributes is not None
    assert failed.attributes["error.type"] == "engine_failed"
    assert rejected.status.status_code is StatusCode.UNSET
    assert rejected.attributes is not None
    assert rejected.attributes["error.type"] == "queue_full"


def test_off_it_makes_nothing_and_the_clients_traceparent_stays() -> None:
    off = make_tracing("gateway", TracingSettings())
    trace = off.begin({"traceparent": SAMPLED}, CHAT)
    assert trace is NO_TRACE
    headers = {"traceparent": SAMPLED, "tracestate": "vendor=1"}
    with trace.span(spans_of.UPSTREAM) as span:
        assert span is NO_SPAN
        span.set(spans_of.ENGINE, "e0")
        span.inject(headers)
    assert headers == {"traceparent": SAMPLED, "tracestate": "vendor=1"}
    trace.set(tracing.MODEL, "main")
    trace.event(tracing.FIRST_TOKEN)
    trace.end("ok", 200)
    off.close()


def test_off_opentelemetry_is_not_imported() -> None:
    program = "import sys, llm_gateway.app; sys.exit('opentelemetry' in sys.modules)"
    path = [entry for entry in sys.path if entry]
    subprocess.run([sys.executable, "-c", f"import sys; sys.path[:0] = {path!r}; {program}"], check=True)


@pytest.mark.parametrize(
    "wrong", [{"otlp_endpoint": "localhost:4318"}, {"sample_ratio": 1.1}, {"sample_ratio": -0.1}, {"endpoint": ""}]
)
def test_settings_that_cannot_work_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        TracingSettings.model_validate(wrong)


@asynccontextmanager
async def receiver(received: list[ExportTraceServiceRequest], key: str = "") -> AsyncIterator[str]:
    """Run a minimal OTLP/HTTP receiver. If it has a key, it refuses spans without."""

    async def traces(request: web.Request) -> web.Response:
        body = await request.read()
        if key and request.headers.get("authorization") != f"Bearer {key}":
            raise web.HTTPUnauthorized
        if request.headers.get("content-encoding") == "gzip":
            raise web.HTTPUnsupportedMediaType
        received.append(ExportTraceServiceRequest.FromString(body))
        return web.Response(content_type="application/x-protobuf")

    app = web.Application()
    app.router.add_post("/v1/traces", traces)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1/traces"
    finally:
        await runner.cleanup()


async def test_spans_reach_a_receiver_by_otlp_over_http() -> None:
    received: list[ExportTraceServiceRequest] = []
    async with receiver(received) as endpoint:
        made = make_tracing("gateway", TracingSettings(otlp_endpoint=endpoint, service_name="gateway-7"))
        trace = made.begin({"traceparent": SAMPLED}, CHAT)
        with trace.span(spans_of.QUEUE):
            pass
        trace.end("ok", 200)
        await asyncio.to_thread(made.close)
    resources = [resource for request in received for resource in request.resource_spans]
    assert {
        attribute.value.string_value
        for resource in resources
        for attribute in resource.resource.attributes
        if attribute.key == "service.name"
    } == {"gateway-7"}
    spans = [span for resource in resources for scope in resource.scope_spans for span in scope.spans]
    assert sorted(span.name for span in spans) == [spans_of.QUEUE, "gateway.request"]
    assert {span.trace_id.hex() for span in spans} == {TRACE_ID}


class Stuck(SpanExporter):
    """A receiver that takes a batch and never answers."""

    def __init__(self) -> None:
        self.answer = threading.Event()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.answer.wait()
        return SpanExportResult.FAILURE


def test_a_receiver_that_is_stuck_holds_no_request_up() -> None:
    stuck = Stuck()
    with traced(stuck) as made:
        for _ in range(WAITING_SPANS):
            one_request(made, {})
        assert not stuck.answer.is_set()
        stuck.answer.set()


async def test_spans_bring_the_key_that_the_receiver_wants(tmp_path: Path) -> None:
    received: list[ExportTraceServiceRequest] = []
    key = tmp_path / "monitor.key"
    key.write_text("secret\n")
    async with receiver(received, key="secret") as endpoint:
        for key_file in (None, key):
            made = make_tracing("gateway", TracingSettings(otlp_endpoint=endpoint, otlp_key_file=key_file))
            one_request(made, {})
            await asyncio.to_thread(made.close)
            assert bool(received) == (key_file is not None)


def test_a_key_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="otlp_key_file"):
        TracingSettings(otlp_key_file=tmp_path / "none.key")


async def test_a_receiver_that_is_down_delays_the_end_by_little() -> None:
    settings = TracingSettings(otlp_endpoint=f"http://127.0.0.1:{unused_port()}/v1/traces")
    made = OtelTracing("gateway", settings, otlp_exporter(settings))
    one_request(made, {})
    async with asyncio.timeout(10 * EXPORT_SECONDS):
        await asyncio.to_thread(made.close)
