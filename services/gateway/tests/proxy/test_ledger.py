"""The settlement of a finished request, end to end: SLA record, tenant's account, spans and limits."""

from __future__ import annotations

from typing import Any

import aiohttp
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from llm_contract.testing import ScriptedEngine
from llm_gateway.tenancy.keys import key_hash
from llm_gateway.testing import RunningGateway
from llm_proxy.telemetry.otel import OtelTracing
from llm_proxy.telemetry.tracing import TracingSettings

TENANT = {"name": "research", "keys": [key_hash("sk-research")], "tpm": 1000}
KEYED = {"authorization": "Bearer sk-research", "x-priority": "interactive"}


async def ask(client: aiohttp.ClientSession, gateway: RunningGateway, **body: object) -> None:
    asked = {"prompt": "hello", "max_tokens": 4, "model": "scripted", **body}
    async with client.post(gateway.url + "/v1/completions", json=asked, headers=KEYED) as response:
        assert response.status == 200
        await response.read()


async def figures(client: aiohttp.ClientSession, gateway: RunningGateway) -> Any:
    async with client.get(gateway.url + "/sla") as response:
        assert response.status == 200
        interactive, *_ = (await response.json())["classes"]
        assert interactive["name"] == "interactive"
        return interactive["figures"]


async def test_tokens_are_counted_alike_streamed_or_not(client: aiohttp.ClientSession) -> None:
    async with ScriptedEngine() as engine, RunningGateway(engine.url, tenants=[TENANT]) as gateway:
        await ask(client, gateway)
        await ask(client, gateway, stream=True, stream_options={"include_usage": True})
        used = gateway.parts.usage.of("research")
        assert (used.requests, used.prompt_tokens, used.output_tokens) == (2, 10, 8)
        seen = await figures(client, gateway)
        assert (seen["requests"], seen["met"], seen["output_tokens"]) == (2, 2, 8)


async def test_a_limit_is_settled_by_what_was_used(client: aiohttp.ClientSession) -> None:
    async with ScriptedEngine() as engine, RunningGateway(engine.url, tenants=[TENANT]) as gateway:
        await ask(client, gateway, max_tokens=4)
        (bucket,) = gateway.parts.limiter._tokens.values()
        await gateway.until(lambda _: 1000 - 9 <= bucket.level <= 1000 - 9 + 1)


async def test_a_trace_has_the_requests_figures(client: aiohttp.ClientSession) -> None:
    spans = InMemorySpanExporter()
    tracing = OtelTracing("gateway", TracingSettings(otlp_endpoint="http://unused"), spans)
    async with ScriptedEngine() as engine, RunningGateway(engine.url, tenants=[TENANT]) as gateway:
        gateway.parts.proxy._tracing = tracing
        await ask(client, gateway, stream=True, stream_options={"include_usage": True})
        (received,) = engine.received
    tracing.flush()
    found = {span.name: span for span in spans.get_finished_spans()}
    assert set(found) == {"gateway.request", "gateway.admit", "gateway.queue", "gateway.upstream"}
    attributes = found["gateway.request"].attributes
    assert attributes is not None
    assert (attributes["gen_ai.request.model"], attributes["gen_ai.request.max_tokens"]) == ("scripted", 4)
    assert (attributes["gen_ai.usage.input_tokens"], attributes["gen_ai.usage.output_tokens"]) == (5, 4)
    assert (attributes["llm_gateway.class"], attributes["llm_gateway.tenant"]) == ("interactive", "research")
    upstream = found["gateway.upstream"].context
    assert upstream is not None
    assert received.headers["traceparent"].split("-")[2] == f"{upstream.span_id:016x}"
    tracing.close()


async def test_where_keys_are_required_the_report_needs_the_admin_key(client: aiohttp.ClientSession) -> None:
    admin = {"key": key_hash("sk-admin")}
    async with (
        ScriptedEngine() as engine,
        RunningGateway(engine.url, tenants=[TENANT], require_keys=True, admin=admin) as gateway,
    ):
        for key, status in (("sk-admin", 200), ("sk-research", 401), ("", 401)):
            for path in ("/sla", "/sla/report"):
                headers = {"authorization": f"Bearer {key}"}
                async with client.get(gateway.url + path, headers=headers) as response:
                    assert response.status == status
