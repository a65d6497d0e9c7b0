"""Spans by OTLP/HTTP: bounded, without text of prompts, and in the order of a waterfall."""

from __future__ import annotations

import gzip
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from llm_monitor.web.app import make_app
from llm_monitor.web.traces import CONTENT_TYPE, MAX_SPANS, Traces

TRACE = bytes(range(16))


def batch(*spans: tuple[str, str, float, float], trace: bytes = TRACE, **attributes: Any) -> ExportTraceServiceRequest:
    """Return a batch of spans (id, parent, start, end)."""
    request = ExportTraceServiceRequest()
    group = request.resource_spans.add()
    group.resource.attributes.add(key="service.name").value.string_value = "llm-gateway"
    scope = group.scope_spans.add()
    for id, parent, start, end in spans:
        span = scope.spans.add(trace_id=trace, span_id=id.encode(), parent_span_id=parent.encode(), name=f"span {id}")
        span.start_time_unix_nano, span.end_time_unix_nano = round(start * 1e9), round(end * 1e9)
        for name, value in attributes.items():
            span.attributes.add(key=name).value.string_value = value
    return request


def test_spans_come_depth_first() -> None:
    traces = Traces()
    traces.add(batch(("c", "a", 2, 3), ("d", "b", 1.5, 1.8), ("b", "a", 1, 2), ("a", "", 0, 4)))
    spans = traces.get(TRACE.hex())
    assert spans is not None
    assert [span.name for span in spans] == ["span a", "span b", "span d", "span c"]
    (row,) = traces.newest()
    assert (row["name"], row["seconds"], row["spans"], row["service"]) == ("span a", 4.0, 4, "llm-gateway")


def test_no_text_of_a_prompt_is_kept() -> None:
    traces = Traces()
    secrets = {"gen_ai.prompt": "my secret", "gen_ai.input.messages": "my secret", "llm_gateway.class": "x" * 1000}
    traces.add(batch(("a", "", 0, 1), **secrets))
    (span,) = traces.get(TRACE.hex()) or []
    assert set(span.attributes) == {"llm_gateway.class"}
    assert len(str(span.attributes["llm_gateway.class"])) == 120


def test_a_list_is_shown_by_commas() -> None:
    traces, request = Traces(), batch(("a", "", 0, 1))
    attribute = request.resource_spans[0].scope_spans[0].spans[0].attributes.add(key="gen_ai.response.finish_reasons")
    for reason in ("stop", "length"):
        attribute.value.array_value.values.add(string_value=reason)
    traces.add(request)
    (span,) = traces.get(TRACE.hex()) or []
    assert span.attributes == {"gen_ai.response.finish_reasons": "stop, length"}


def test_phases_have_their_medians_over_the_newest_traces() -> None:
    traces = Traces()
    for number, seconds in enumerate((1.0, 2.0, 9.0)):
        request = batch(("a", "", 0, 10), ("b", "a", 0, seconds), trace=bytes([number]) * 16)
        root, phase = request.resource_spans[0].scope_spans[0].spans
        root.name, phase.name = "engine.request", "engine.decode"
        traces.add(request)
    assert traces.phases() == {"engine.decode": 2.0}


def test_the_number_of_traces_and_spans_is_bounded() -> None:
    traces = Traces(max_traces=3)
    for number in range(10):
        traces.add(batch(("a", "", number, number + 1), trace=bytes([number]) * 16))
    assert [row["id"] for row in traces.newest()] == [(bytes([n]) * 16).hex() for n in (9, 8, 7)]
    traces.add(batch(*((str(n), "", 0.0, 1.0) for n in range(MAX_SPANS + 5))))
    assert len(traces.get(TRACE.hex()) or []) == MAX_SPANS
    assert next(row for row in traces.newest() if row["id"] == TRACE.hex())["dropped"] == 5


def test_a_circle_of_parents_is_shown_all_the_same() -> None:
    traces = Traces()
    traces.add(batch(("a", "b", 0, 1), ("b", "a", 0, 1)))
    assert len(traces.get(TRACE.hex()) or []) == 2
    assert traces.newest()[0]["spans"] == 2


def test_slow_and_failed_traces_are_found() -> None:
    traces = Traces()
    traces.add(batch(("a", "", 0, 9), trace=b"1" * 16))
    traces.add(batch(("a", "", 5, 6), trace=b"2" * 16, **{"error.type": "queue_full"}))
    assert [row["seconds"] for row in traces.newest(slowest=True)] == [9.0, 1.0]
    assert [row["id"] for row in traces.newest("failed")] == [(b"2" * 16).hex()]


@pytest.mark.parametrize("compress", [False, True])
async def test_the_receiver_takes_protobuf(compress: bool) -> None:
    traces = Traces()
    app = make_app([traces], host="127.0.0.1", names=[], keys=[])
    body = batch(("a", "", 0, 1)).SerializeToString()
    headers = {"Content-Type": CONTENT_TYPE} | ({"Content-Encoding": "gzip"} if compress else {})
    async with TestClient(TestServer(app)) as client:
        sent = await client.post("/v1/traces", data=gzip.compress(body) if compress else body, headers=headers)
        assert sent.status == 200
        shown = await (await client.get(f"/api/traces/{TRACE.hex()}")).json()
        assert [span["name"] for span in shown] == ["span a"]
        assert (await client.get(f"/api/traces/{'0' * 32}")).status == 404


@pytest.mark.parametrize(
    ("body", "kind", "status"), [(b"\xff\xff", CONTENT_TYPE, 400), (b"{}", "application/json", 415)]
)
async def test_anything_else_is_refused(body: bytes, kind: str, status: int) -> None:
    app = make_app([Traces()], host="127.0.0.1", names=[], keys=[])
    async with TestClient(TestServer(app)) as client:
        assert (await client.post("/v1/traces", data=body, headers={"Content-Type": kind})).status == status


async def test_a_body_that_unfolds_too_large_is_refused() -> None:
    app = make_app([Traces()], host="127.0.0.1", names=[], keys=[])
    headers = {"Content-Type": CONTENT_TYPE, "Content-Encoding": "gzip"}
    async with TestClient(TestServer(app)) as client:
        bomb = gzip.compress(bytes(64 * 1024 * 1024))
        assert (await client.post("/v1/traces", data=bomb, headers=headers)).status == 413
