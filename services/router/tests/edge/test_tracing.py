"""The spans of a request through an edge, in memory."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from llm_contract.testing import ScriptedEngine
from llm_proxy.telemetry.otel import OtelTracing
from llm_proxy.telemetry.tracing import TracingSettings
from llm_router.edge import server
from llm_router.testing import MODEL, RunningEdge

TRACE_ID, PARENT_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


async def test_the_clients_trace_goes_on_at_both_engines_of_a_replayed_stream(
    client: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    spans = InMemorySpanExporter()
    tracing = OtelTracing("router", TracingSettings(), spans)
    monkeypatch.setattr(server, "make_tracing", lambda program, settings: tracing)
    async with (
        ScriptedEngine() as one,
        ScriptedEngine() as other,
        RunningEdge(one.url, other.url, model={"policy": "round_robin"}) as edge,
    ):
        one.die_after_chunks = 3
        sent = {"traceparent": f"00-{TRACE_ID}-{PARENT_ID}-01"}
        body = {"model": MODEL, "prompt": "x", "stream": True, "max_tokens": 8}
        async with client.post(edge.url + "/v1/completions", json=body, headers=sent) as response:
            assert (await response.read()).endswith(b"data: [DONE]\n\n")
        await edge.until(lambda: edge.server.proxy.open == 0)
        await asyncio.to_thread(tracing.flush)
        received = [engine.received[0].headers["traceparent"] for engine in (one, other)]
    found = spans.get_finished_spans()
    assert sorted(span.name for span in found) == [
        *("router.pick", "router.pick", "router.replay", "router.request", "router.upstream", "router.upstream")
    ]
    root = next(span for span in found if span.name == "router.request")
    assert root.parent is not None
    assert (f"{root.context.trace_id:032x}", f"{root.parent.span_id:016x}") == (TRACE_ID, PARENT_ID)
    upstream = [span for span in found if span.name == "router.upstream"]
    assert received == [f"00-{TRACE_ID}-{span.context.span_id:016x}-01" for span in upstream]
    assert [span.attributes and span.attributes["llm_router.engine"] for span in upstream] == ["e0", "e1"]
    replay = next(span for span in found if span.name == "router.replay")
    assert replay.attributes == {"llm_router.tokens": 3}
    assert root.attributes is not None
    assert root.attributes["llm_router.outcome"] == "ok"
